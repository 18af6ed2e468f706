import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { pino } from 'pino'
import t from 'tap'
import { Refused } from '../../cli/recipient.ts'
import { loadConfig } from '../../keyserver/config-file.ts'
import { startServer } from '../../keyserver/server.ts'
import { attempt, letter } from './retrying-client.ts'
import { envelopeIn, sealedCopyIn } from './sink.ts'
import { openTrouble, type Trouble } from './trouble.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const bob = 'bob@example.org'

/** Runs the house's key server in this process, by a clock that can be set (`wall`) and by time that can pass (`wall` and `elapsed`). */
function startInside(trouble: Trouble, time: { wall: number; elapsed: number }) {
  return startServer(loadConfig(join(trouble.house.folder, 'keyserver.yaml')), {
    log: pino({ level: 'silent' }),
    version: '0.0.0',
    time: { wall: () => Date.now() + time.wall, elapsed: () => performance.now() + time.elapsed },
  })
}

async function seal(trouble: Trouble, ttl: string) {
  const mail = letter([bob], { tag: `[ttl:${ttl}]` })
  const handed = await attempt(trouble.first, mail)
  if (handed.code !== 250) throw new Error(handed.said)
  const octets = trouble.copies(mail, bob)[0]?.octets ?? Buffer.alloc(0)
  return { mail, id: envelopeIn(octets), sealed: sealedCopyIn(octets) }
}

const codeOf = (error: unknown) => (error instanceof Refused ? error.code : String(error))

t.test(
  'a clock a year ahead destroys nothing; back again it opens nothing, until an officer says that it is right',
  async (t) => {
    const trouble = await openTrouble(t)
    await trouble.start('keyserver', 'gw1')
    const { id, sealed, mail } = await seal(trouble, '7d')
    const person = await trouble.prove(id, bob)
    const secrets = () => secretsIn(trouble)
    const before = secrets()
    await trouble.stop('keyserver')

    const ahead = await startInside(trouble, { wall: 365 * DAY, elapsed: 0 })
    await ahead.shred()
    await ahead.shred()
    t.same(secrets(), before, 'no secret is touched')
    t.same(
      trouble.records().filter(({ kind }) => kind === 'shredded' || kind === 'expired'),
      [],
    )
    const meanwhile = await seal(trouble, '7d')
    await ahead.close()
    const right = await startInside(trouble, { wall: 0, elapsed: 0 })

    const answers: Response[] = []
    const watching: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init)
      answers.push(answer)
      return answer
    }
    t.equal(await person.release(sealed).then(String, codeOf), 'unavailable')
    await trouble.prove(id, bob, watching).catch((error: unknown) => t.equal(codeOf(error), 'unavailable'))
    t.match(answers.at(-1), { status: 503 })
    t.match(answers.at(-1)?.headers.get('retry-after'), /^\d+$/)
    t.match(await attempt(trouble.first, letter([bob])), { code: 451 }, 'nor is anything issued by a wrong time')

    const accepted = await trouble.officer('clock', 'accept', '--reason', 'looked at the radio clock')
    t.match(accepted, { code: 0 })
    const proven = await trouble.prove(id, bob)
    t.ok(Buffer.from((await proven.open(id, sealed)).message).equals(mail.octets), 'it opens as before')
    t.ok(await proven.release(meanwhile.sealed), 'and so does what was sealed meanwhile')
    t.match(await attempt(trouble.first, letter([bob])), { code: 250 })
    await right.close()
    t.equal(await trouble.verify(), '')
  },
)

t.test('a day back nothing opens', async (t) => {
  const trouble = await openTrouble(t)
  await trouble.start('keyserver', 'gw1')
  const { id, sealed } = await seal(trouble, '7d')
  const person = await trouble.prove(id, bob)
  await trouble.stop('keyserver')
  const time = { wall: -DAY, elapsed: 0 }
  const back = await startInside(trouble, time)
  t.equal(await person.release(sealed).then(String, codeOf), 'unavailable')
  t.equal(await person.ticket(id).then(String, codeOf), 'unavailable')
  time.wall = 0
  t.ok(await person.release(sealed), 'and with the right time it does')
  await back.close()
  t.equal(await trouble.verify(), '')
})

t.test(
  'what has expired is shredded: its secret is in no file of the database, and later its key is gone too',
  async (t) => {
    const trouble = await openTrouble(t, { keyserver: { graceDays: 1 } })
    const time = { wall: 0, elapsed: 0 }
    const pass = (ms: number) => {
      time.wall += ms
      time.elapsed += ms
    }
    const server = await startInside(trouble, time)
    t.teardown(() => server.close())
    await trouble.start('gw1')
    const { id, sealed } = await seal(trouble, '1h')
    const long = await seal(trouble, '7d')
    const person = await trouble.prove(id, bob)
    t.ok(await person.release(sealed), 'it opens while it lives')
    const [secret] = secretsIn(trouble)
    if (secret === undefined) throw new Error('there is no secret')
    t.ok((await filesWith(trouble, secret)).length > 0, 'the octets that are looked for are found where they are')

    pass(HOUR + 1000)
    t.equal(await person.release(sealed).then(String, codeOf), 'expired', 'refused before the shredder came')
    await server.shred()
    t.same(await filesWith(trouble, secret), [])
    t.equal(await person.release(sealed).then(String, codeOf), 'expired', 'and after')
    t.ok(await person.release(long.sealed), 'nothing else is lost')
    const bucket = join(trouble.house.folder, 'keyserver', 'keys', 'buckets', 'acme.example')
    const key = join(bucket, `${new Date(Date.now() + HOUR).toISOString().slice(0, 10)}.1.key`)
    t.ok(await exists(key), 'its bucket key outlives it')
    pass(3 * DAY)
    await server.shred()
    t.notOk(await exists(key), 'for a day of grace after its last day')
    const ends = trouble.records().filter((one) => 'envelope' in one && one.envelope === id)
    t.match(
      ends.slice(-3).map(({ kind }) => kind),
      ['expired', 'shredded', 'release-refused'],
    )
    t.ok(trouble.records().some((one) => one.kind === 'bucket-destroyed' && one.cause === 'expired'))
    await server.parts.store.checkpoint((origin) => server.parts.keyring.signer.forLog(origin))
    t.equal(await trouble.verify(), '')
  },
)

function secretsIn(trouble: Trouble): readonly Buffer[] {
  const database = new Database(trouble.house.database, { readonly: true })
  const rows = database.prepare<[], Buffer>('select sealed from secret order by envelope').pluck().all()
  database.close()
  return rows
}

/** Files of the database in which any sixteen octets in a row of the secret stand. */
async function filesWith(trouble: Trouble, secret: Buffer): Promise<string[]> {
  const found: string[] = []
  for (const end of ['', '-wal', '-shm']) {
    const octets = await readFile(trouble.house.database + end)
    for (let at = 0; at + 16 <= secret.length; at++) {
      if (octets.includes(secret.subarray(at, at + 16))) found.push(`keyserver.sqlite${end}`)
    }
  }
  return [...new Set(found)]
}

function exists(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    () => false,
  )
}
