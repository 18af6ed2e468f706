import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createBreaker } from '../../gateway/breaker.ts'
import type { Delivery } from '../../gateway/courier.ts'
import { createLog } from '../../gateway/log.ts'
import type { Organization } from '../../gateway/organization.ts'
import { openSpool } from '../../gateway/spool.ts'
import { newSpoolId, type SpoolEntry } from '../../gateway/spool-entry.ts'
import { openSpoolFolder } from '../../gateway/spool-folder.ts'
import { parseAddress } from '../../protocol/identifiers.ts'
import { acme } from './sealed-mail.ts'

const bob = parseAddress('bob@example.org') ?? ('' as never)
const text = 'a mail'
const entry = (): SpoolEntry => ({
  ...{ id: newSpoolId(), kind: 'message', org: acme, envelope: null, sealed: null, sender: null },
  recipients: [{ address: bob, mailbox: bob, notify: null, orcpt: null }],
  ...{ wish: { ret: null, envid: null }, mail: { size: text.length, smtputf8: false, eightBit: false }, returned: '' },
  ...{ arrivedAt: new Date().toISOString(), intake: 'an intake' },
})

/** A spool whose next hop takes everything. */
async function openQuiet(t: Test) {
  let close = async () => {}
  // Said before the folder is asked for: that goes when what was said after it is yet to come.
  t.teardown(() => close())
  const data = t.testdir({})
  const folder = join(data, 'spool')
  const delivered: Delivery[] = []
  const courier = {
    capabilities: () => null,
    async deliver(delivery: Delivery) {
      delivered.push(delivery)
      const said = { outcome: 'sent', code: 250, enhanced: '2.0.0', text: 'OK', remote: true } as const
      return { results: delivery.recipients.map((recipient) => ({ recipient, ...said })), nextHop: 'mx' }
    },
  }
  // What a spool asks of an organization here.
  const organization = { id: acme, courier } as unknown as Organization
  const breaker = () => createBreaker({ failures: 3, probeMs: 1000 })
  const spool = await openSpool({
    ...{ lifeMs: 60_000, delayNoticeMs: 60_000, pauses: { firstMs: 1000, mostMs: 1000 }, leaseMs: 60_000 },
    ...{ host: 'gw1.acme.example', folder: await openSpoolFolder({ folder, keyFile: join(data, 'key'), reserve: 0 }) },
    organizations: new Map([[acme, organization]]),
    keyServer: { confirm: async () => ({ kind: 'confirmed' }), outcome: async () => ({ kind: 'recorded' }) },
    ...{ providers: new Map([[acme, breaker()]]), keyServerBreaker: breaker(), lanes: () => 4 },
    copies: { settle: async () => true },
    metrics: { outcome: () => undefined, byLink: () => undefined },
    ...{ log: createLog('silent', { write: () => undefined }), now: () => new Date() },
  })
  close = () => spool.close()
  const mails = async () => (await readdir(folder)).filter((name) => !name.startsWith('.'))
  return { spool, delivered, mails }
}

async function* once(): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}
const mail = { size: text.length, smtputf8: false, eightBit: false, open: once }

t.test('a mail is in once it is written and confirmed, and not tried before', async (t) => {
  const { spool, delivered, mails } = await openQuiet(t)
  const confirmed = Promise.withResolvers<void>()
  let isIn = false
  const put = spool.put(entry(), mail, { kind: 'confirming', confirmed: confirmed.promise }).then(() => {
    isIn = true
  })
  while ((await mails()).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.same([isIn, delivered.length, spool.stats().entries], [false, 0, 0], 'on the disk, but not in')
  confirmed.resolve()
  await put
  while (delivered.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(delivered.length, 1)
})

t.test('one that may not leave is not kept, nor one that cannot be read', async (t) => {
  const { spool, delivered, mails } = await openQuiet(t)
  const refused = new Error('revoked')
  const put = spool.put(entry(), mail, { kind: 'confirming', confirmed: Promise.reject(refused) })
  await t.rejects(put, refused)
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('a')
    throw new Error('cut off')
  }
  const cut = { ...mail, open: broken }
  await t.rejects(spool.put(entry(), cut, { kind: 'confirming', confirmed: Promise.resolve() }), /cut off/)
  t.same(await mails(), [])
  t.same([spool.stats().entries, delivered.length], [0, 0])
})
