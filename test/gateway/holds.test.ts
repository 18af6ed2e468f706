import { createHash, randomBytes } from 'node:crypto'
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { createComposer } from '../../gateway/compose.ts'
import { createFolderCopies } from '../../gateway/copies.ts'
import { createEgress, type Egress, EgressViolation } from '../../gateway/egress.ts'
import { GatewayError } from '../../gateway/error.ts'
import { openHoldFolder } from '../../gateway/hold-folder.ts'
import { type Holds, openHolds } from '../../gateway/holds.ts'
import { type Intake, readMemory } from '../../gateway/intake.ts'
import { createLog } from '../../gateway/log.ts'
import { loadNoticeTemplates } from '../../gateway/notice-template.ts'
import type { Organization } from '../../gateway/organization.ts'
import type { Order } from '../../gateway/preparation.ts'
import { createRoom } from '../../gateway/room.ts'
import { createSealing } from '../../gateway/sealing.ts'
import type { Spool } from '../../gateway/spool.ts'
import type { HoldFate, HoldResult } from '../../protocol/hold-api.ts'
import { parseAddress, parseEnvelopeId } from '../../protocol/identifiers.ts'
import { acme } from './sealed-mail.ts'

const canary = 'only whoever it was written to may read this'
const bob = parseAddress('bob@example.org') ?? ('' as never)
const anna = parseAddress('anna@acme.example') ?? ('' as never)
const templates = await loadNoticeTemplates()
async function octetsOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Holds on a real folder, with a key server and a spool that do as the test says. */
async function desk(folder: string, options: { readonly reserve?: number; readonly stops?: boolean } = {}) {
  const { reserve = 0, stops = false } = options
  const told: { action: string; text: string; until: string | null }[] = []
  const spooled: { readonly octets: Buffer; readonly sealed: unknown }[] = []
  const self = {
    hold: async (): Promise<HoldResult> => ({ kind: 'held', until: '2030-01-01T00:00:00.000Z' }),
    fate: { kind: 'held' } as HoldFate,
    fates: null as (() => Promise<HoldFate>) | null,
    asked: 0,
    aheadMs: 0,
    spoolFails: false,
    outcomes: [] as string[],
    told,
    spooled,
    stop: () => copies.close(),
    files: async () => (await readdir(join(folder, 'held'))).filter((name) => !name.startsWith('.')),
    copies: null as unknown as Awaited<ReturnType<typeof createFolderCopies>>,
    holds: null as unknown as Holds,
  }
  const copies = await createFolderCopies(join(folder, 'copies'))
  const fails = () => {
    if (self.spoolFails) throw new GatewayError('disk-full')
  }
  const spool: Pick<Spool, 'put' | 'tell' | 'holds'> = {
    async put(entry, mail) {
      fails()
      spooled.push({ octets: await octetsOf(mail.open()), sealed: entry.sealed })
    },
    async tell(_subject, _org, action, results, until) {
      fails()
      told.push({ action, text: results[0]?.text ?? '', until: until?.toISOString() ?? null })
    },
    holds: () => false,
  }
  self.copies = copies
  self.holds = await openHolds({
    sealing: await createSealing({ folder: join(folder, 'sealing'), room: createRoom(1_000_000) }),
    composer: createComposer(templates),
    egress: stops ? stopping : createEgress({ templates, alarm: (violation) => t.fail(violation.message) }),
    ...{ copies, spool, now: () => new Date(Date.now() + self.aheadMs), log: createLog('silent', new PassThrough()) },
    organizations: new Map([[acme, organization]]),
    keyServer: {
      hold: () => self.hold(),
      async holdFate() {
        self.asked += 1
        return self.fates === null ? self.fate : self.fates()
      },
      async outcome({ recipient, outcome }) {
        self.outcomes.push(`${recipient} ${outcome}`)
        return { kind: 'recorded' }
      },
    },
    folder: await openHoldFolder({ folder: join(folder, 'held'), keyFile: join(folder, 'held.key'), reserve }),
  })
  return self
}

/** Stops every mail. */
const stopping: Egress = {
  sealed: (mail) => ({
    ...mail,
    async *open() {
      yield new Uint8Array()
      throw new EgressViolation('an-incident', 'a test')
    },
  }),
  passed: (mail) => mail,
  signed: (mail) => mail,
}

const organization = {
  ...{ id: acme, name: 'Acme', loopSecret: 'a-secret-of-the-loop', otherLoopSecret: null, towardsMicrosoft: false },
  ...{ carryLimit: 25_000_000, nextHop: 'provider.example', traceKey: randomBytes(32) },
  courier: { capabilities: () => null },
} as unknown as Organization

function order(options: { readonly size?: number; readonly subject?: string } = {}): Order {
  const { size = 0, subject = null } = options
  const line = `${canary}\r\n`
  const text = `From: Anna <anna@acme.example>\r\nTo: bob@example.org\r\nSubject: Prices\r\nX-Own: hush\r\nMessage-ID: <1@acme.example>\r\n\r\n${line.repeat(1 + size / line.length)}`
  const content = readMemory(new Uint8Array(Buffer.from(text)))
  if (content === null) throw new Error('no mail')
  const recipients = [{ address: bob, mailbox: bob, notify: null, orcpt: null }]
  const intake: Intake = {
    ...{ id: 'an-intake', org: acme, sender: { address: anna, mailbox: anna }, recipients, smtpUtf8: false },
    ...{ client: { identity: '', ip: '127.0.0.1', tls: false }, wish: { ret: null, envid: null } },
    ...{ receivedAt: new Date('2026-11-22T10:00:00Z'), received: 'from client.example by gw1; now', content },
  }
  const id = parseEnvelopeId(randomBytes(16).toString('base64url'))
  if (id === null) throw new Error('no id')
  const b64 = (octets: number) => randomBytes(octets).toString('base64url')
  const key = { dataKey: b64(32), wrappedKey: b64(60), termsHash: b64(32), link: 'https://x.example/m/x' }
  return {
    ...{ org: organization, intake },
    group: {
      ...{
        verdict: 'hold',
        rule: 'prices',
        terms: { ttlSeconds: 60, proof: 'code' },
        subject,
        carry: 'both',
        tls: null,
      },
      ...{ notice: null, hold: { because: 'We look first.', seconds: 3600 }, recipients },
    },
    envelope: {
      ...{ id, issuedAt: '2026-11-22T10:00:00.000Z', key: { ...key, expiresAt: '2026-11-29T10:00:00.000Z' } },
      recipients: [{ address: bob, state: 'open' }],
    },
  }
}

const keep = ({ holds }: { holds: Holds }, one: Order) =>
  holds.keep(one, one.group.recipients, one.intake.content.header.fields)
const letGo = (one: Order): HoldFate => ({
  ...{ kind: 'let-go', link: `https://open.acme.example/m/${one.envelope.id}`, expiresAt: '2027-03-01T00:00:00.000Z' },
})

t.test(
  'kept, confirmed and told in this order; nothing of it can be read, and after a start it is asked for',
  async (t) => {
    const folder = t.testdir()
    const first = await desk(folder)
    const one = order({ subject: 'Protected' })
    const seen: number[] = []
    first.hold = async () => {
      seen.push((await first.files()).length, first.told.length)
      return { kind: 'held', until: '' }
    }
    await keep(first, one)
    t.strictSame(seen, [1, 0], 'the file is there before, and the sender hears of it after')
    t.strictSame(first.told, [{ action: 'held', text: 'We look first.', until: '2026-11-29T10:00:00.000Z' }])
    t.match(first.holds.stats(), { mails: 1, damaged: 0, oldestAt: Date.parse('2026-11-22T10:00:00Z') })
    const [name = ''] = await first.files()
    const octets = await readFile(join(folder, 'held', name))
    for (const word of [canary, 'Prices', 'bob@', 'hush', 'We look', one.envelope.id])
      t.notOk(octets.includes(word), word)
    await first.holds.remind(one.envelope.id)
    t.equal(first.told.length, 1, 'not told twice')
    await first.holds.poll()
    t.equal(first.asked, 0, 'nothing became of it')
    first.holds.note(one.envelope.id)
    await first.holds.poll()
    await first.holds.poll()
    t.equal(first.asked, 1)
    first.stop()

    const again = await desk(folder)
    again.fate = letGo(one)
    await again.holds.poll()
    const mail = again.spooled[0]?.octets.toString('latin1')
    t.match(mail, /^Subject: Protected\r$/m)
    t.match(mail, /^To: bob@example\.org\r$/m)
    t.match(mail, 'https://open.acme.example/m/')
    t.match(mail, /1 March 2027/, 'until when it really opens')
    t.notMatch(mail, /Prices|hush|only whoever/)
    t.ok(await again.copies.has(one.envelope.id), 'the link works')
    t.strictSame(await again.files(), [])
    again.stop()
  },
)

t.test('where no answer comes it is kept until it is known, and the client is not told that it is held', async (t) => {
  const office = await desk(t.testdir())
  t.teardown(async () => office.stop())
  const one = order()
  office.hold = () => Promise.reject(new GatewayError('key-server'))
  await t.rejects(keep(office, one), { code: 'key-server' })
  t.equal((await office.files()).length, 1)
  t.equal(office.told.length, 0)
  office.fate = { kind: 'waiting' }
  await office.holds.poll()
  await office.holds.poll()
  t.equal(office.asked, 2, 'it is asked for until it is known')
  await office.holds.remind(one.envelope.id)
  t.equal(office.told.length, 1, 'it was held: the client heard so when it tried again, and now the sender does')
  office.fate = { kind: 'gone' }
  await office.holds.poll()
  t.strictSame(await office.files(), [])
  t.equal(office.told.length, 1)
})

t.test('where another copy is held already this one goes, and the client tries again', async (t) => {
  const office = await desk(t.testdir())
  t.teardown(async () => office.stop())
  office.hold = async () => ({ kind: 'refused', code: 'conflict', detail: '' })
  await t.rejects(keep(office, order()), { code: 'busy' })
  t.strictSame(await office.files(), [])
  office.hold = async () => ({ kind: 'refused', code: 'expired', detail: '' })
  await t.rejects(keep(office, order()), { code: 'key-server' })
  t.strictSame(await office.files(), [])
  t.match(office.holds.stats(), { mails: 0 })
})

t.test('a sender who cannot be told is told when the client tries again', async (t) => {
  const office = await desk(t.testdir())
  t.teardown(async () => office.stop())
  const one = order()
  office.spoolFails = true
  await t.rejects(keep(office, one), { code: 'disk-full' })
  office.spoolFails = false
  await office.holds.remind(one.envelope.id)
  t.match(office.told, [{ action: 'held' }])
})

t.test(
  'what cannot be done now is done at the next poll; what was sent back, or can be opened no more, is told of',
  async (t) => {
    const office = await desk(t.testdir())
    t.teardown(async () => office.stop())
    const fates: [HoldFate, RegExp][] = [
      [{ kind: 'returned', reason: 'no\r\nBcc: eve@example.org' }, /^no Bcc: eve@example\.org$/],
      [{ kind: 'returned', reason: null }, /^nobody decided in time$/],
      [{ kind: 'expired' }, /time to live ended/],
    ]
    for (const [fate, words] of fates) {
      const one = order()
      await keep(office, one)
      office.told.length = 0
      office.fate = fate
      office.holds.note(one.envelope.id)
      office.spoolFails = true
      await office.holds.poll()
      t.equal((await office.files()).length, 1, 'it waits')
      office.spoolFails = false
      await office.holds.poll()
      t.match(office.told, [{ action: 'returned', text: words, until: null }])
      t.strictSame(await office.files(), [])
    }
  },
)

t.test('a key server that does not answer is asked for one of them, not for each', async (t) => {
  const office = await desk(t.testdir())
  t.teardown(async () => office.stop())
  const orders = [order(), order(), order()]
  for (const one of orders) {
    await keep(office, one)
    office.holds.note(one.envelope.id)
  }
  office.fates = () => Promise.reject(new GatewayError('key-server'))
  await office.holds.poll()
  t.equal(office.asked, 1)
  office.fates = null
  office.fate = { kind: 'gone' }
  await office.holds.poll()
  t.strictSame(await office.files(), [])
})

t.test('a key server that has lost what it knew has no news of it: all of it is asked for once an hour', async (t) => {
  const office = await desk(t.testdir())
  t.teardown(async () => office.stop())
  for (const one of [order(), order()]) await keep(office, one)
  await office.holds.poll()
  t.equal(office.asked, 0)
  office.aheadMs = 3_700_000
  await office.holds.poll()
  await office.holds.poll()
  t.equal(office.asked, 2)
})

t.test('one that the last look stops is not tried for ever: its sender and the key server are told', async (t) => {
  const office = await desk(t.testdir(), { stops: true })
  t.teardown(async () => office.stop())
  const one = order()
  await keep(office, one)
  office.fate = letGo(one)
  office.holds.note(one.envelope.id)
  await office.holds.poll()
  t.match(office.told[1], { action: 'returned', text: /stopped by the last look at what leaves, incident an-incident/ })
  t.strictSame(office.outcomes, ['bob@example.org failed'])
  t.strictSame(await office.files(), [])
})

t.test('a large one is carried through files, octet for octet', async (t) => {
  const folder = t.testdir()
  const office = await desk(folder)
  t.teardown(async () => office.stop())
  const one = order({ size: 3_000_000 })
  await keep(office, one)
  office.fate = letGo(one)
  office.holds.note(one.envelope.id)
  await office.holds.poll()
  const copy = await office.copies.get(one.envelope.id)
  if (copy === null) throw new Error('it was not kept for the link')
  const kept = await octetsOf(copy.chunks())
  const mail = office.spooled[0]?.octets.toString('latin1') ?? ''
  const attached = Buffer.from(
    /filename="protected-message\.sealpost"\r\n\r\n([\w+/=\r\n]+)/.exec(mail)?.[1] ?? '',
    'base64',
  )
  t.ok(attached.equals(kept))
  t.match(office.spooled[0]?.sealed, { digest: createHash('sha256').update(kept).digest('base64url') })
  t.strictSame(await readdir(join(folder, 'held')), [], 'and nothing is left')
})

t.test('a file that was altered, cut or put under another name is named and left alone', async (t) => {
  const folder = t.testdir()
  const office = await desk(folder)
  await keep(office, order())
  office.stop()
  const [name = ''] = await office.files()
  const at = (one: string) => join(folder, 'held', one)
  const octets = await readFile(at(name))
  await copyFile(at(name), at('0'.repeat(22)))
  await writeFile(at('1'.repeat(22)), octets.subarray(0, 200))
  await writeFile(at('.draft-x'), octets)
  const again = await desk(folder)
  t.teardown(async () => again.stop())
  t.match(again.holds.stats(), { mails: 1, damaged: 2 })
  t.equal((await again.files()).length, 3)
  t.notOk((await readdir(join(folder, 'held'))).includes('.draft-x'), 'a draft is nothing yet')
  await rm(join(folder, 'held.key'))
  await t.rejects(desk(folder), /held\.key: mail is kept under it, but its key is missing/)
})

t.test('a disk that is almost full takes nothing in', async (t) => {
  const office = await desk(t.testdir(), { reserve: Number.MAX_SAFE_INTEGER })
  t.teardown(async () => office.stop())
  await t.rejects(keep(office, order()), { code: 'disk-full' })
  t.strictSame(await office.files(), [])
})
