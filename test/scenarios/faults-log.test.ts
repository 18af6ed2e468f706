import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t from 'tap'
import { audit } from '../../cli/audit.ts'
import { Refused } from '../../cli/recipient.ts'
import { attempt, letter } from './retrying-client.ts'
import { envelopeIn, sealedCopyIn } from './sink.ts'
import { openTrouble, recordsIn, type Trouble, until, verify } from './trouble.ts'

const people = ['bob@example.org', 'eve@example.net', 'ida@example.org']
const codeOf = (error: unknown) => (error instanceof Refused ? error.code : String(error))

async function seal(trouble: Trouble) {
  const mail = letter(people)
  const handed = await attempt(trouble.first, mail)
  if (handed.code !== 250) throw new Error(handed.said)
  const octets = trouble.copies(mail, 'bob@example.org')[0]?.octets ?? Buffer.alloc(0)
  return { id: envelopeIn(octets), sealed: sealedCopyIn(octets) }
}

/**
 * The key server as it runs without tap: what tap puts into every process that a test starts ends it at SIGXFSZ, which Node by itself
 * ignores.
 */
async function startBare(test: { teardown(act: () => unknown): unknown }, { house }: Trouble): Promise<ChildProcess> {
  const program = join(import.meta.dirname, '..', '..', 'keyserver', 'main.ts')
  const command = ['-u', 'NODE_OPTIONS', process.execPath, program, join(house.folder, 'keyserver.yaml')]
  const child = spawn('/usr/bin/env', command, { stdio: 'ignore' })
  test.teardown(() => child.kill('SIGKILL'))
  const ready = `http://127.0.0.1:${house.ports.keyserverOps}/health/ready`
  await until('the key server', () =>
    fetch(ready).then(
      (answer) => answer.ok,
      () => false,
    ),
  )
  return child
}

t.test('an officer revokes while three people open at once: in no log does a release follow it', async (t) => {
  const trouble = await openTrouble(t)
  await trouble.start('keyserver', 'gw1')
  let races = 0
  for (let round = 0; round < 4; round++) {
    const { id, sealed } = await seal(trouble)
    const readers = []
    for (const person of people) readers.push(await trouble.prove(id, person))
    const answers = { released: 0, revoked: 0 }
    let revoked = false
    const opening = readers.map(async (reader) => {
      for (let after = 0; after < 5; after += revoked ? 1 : 0) {
        const code = await reader.release(sealed).then(() => 'released', codeOf)
        if (code !== 'released' && code !== 'revoked') throw new Error(code)
        answers[code] += 1
      }
    })
    await sleep(40 + 40 * round)
    const before = answers.released
    const revoking = await trouble.officer('revoke', 'acme.example', id, '--reason', 'sent to the wrong people')
    t.match(revoking, { code: 0, said: /^Revoked / })
    if (before > 0) races += 1
    revoked = true
    await Promise.all(opening)
    const kinds = trouble.records().flatMap((one) => ('envelope' in one && one.envelope === id ? [one.kind] : []))
    t.ok(kinds.includes('revoked') && kinds.lastIndexOf('released') < kinds.indexOf('revoked'), 'none after it')
    t.equal(kinds.filter((kind) => kind === 'released').length, answers.released, 'each key that left is in the log')
    t.equal(kinds.filter((kind) => kind === 'release-refused').length, answers.revoked, 'and each refusal')
  }
  t.ok(races > 1, `there were releases before ${races} revocations of four`)
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})

t.test('the database cannot be written: 503 and 451, nothing hangs or dies, and afterwards all is well', async (t) => {
  const trouble = await openTrouble(t)
  const keyserver = await startBare(t, trouble)
  await trouble.start('gw1')
  const { id, sealed } = await seal(trouble)
  const answers: Response[] = []
  const watching: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init)
    answers.push(answer)
    return answer
  }
  const reader = await trouble.prove(id, 'bob@example.org', watching)
  t.ok(await reader.release(sealed))
  const released = () => trouble.records().filter(({ kind }) => kind === 'released').length
  t.equal(released(), 1)

  // No file of the process may grow beyond this: to SQLite it is a disk that takes no more.
  const { size } = await stat(`${trouble.house.database}-wal`)
  const limit = (octets: string) => execFileSync('/usr/bin/prlimit', ['--pid', `${keyserver.pid}`, `--fsize=${octets}`])
  limit(`${size}:unlimited`)
  for (let i = 0; i < 3; i++) {
    const from = performance.now()
    t.equal(await reader.release(sealed).then(String, codeOf), 'unavailable')
    t.ok(performance.now() - from < 6_000, 'answered in time')
    t.equal(answers.at(-1)?.status, 503)
    t.match(answers.at(-1)?.headers.get('retry-after'), /^\d+$/)
  }
  const refused = letter(people)
  t.match(await attempt(trouble.first, refused), { code: 451, said: /4\.3\.0/ })
  t.equal(trouble.copies(refused, 'bob@example.org').length, 0)
  const ready = await fetch(`http://127.0.0.1:${trouble.house.ports.keyserverOps}/health/live`)
  t.equal(ready.status, 200, 'the process lives')
  t.equal(released(), 1, 'and no key left without a record')

  limit('unlimited:unlimited')
  await until('a release', () => reader.release(sealed).then(Boolean, () => false))
  t.match(await attempt(trouble.first, refused), { code: 250 })
  t.equal(trouble.copies(refused, 'bob@example.org').length, 1)
  keyserver.kill('SIGTERM')
  await once(keyserver, 'exit')
  t.equal(await trouble.verify(), '')
})

t.test('whoever tampers with the log of a real house is found', async (t) => {
  const trouble = await openTrouble(t)
  await trouble.start('keyserver', 'gw1')
  const { id, sealed } = await seal(trouble)
  await (await trouble.prove(id, 'bob@example.org')).release(sealed)
  await trouble.stop('keyserver')
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-tampering-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const older = join(folder, 'older.sqlite')
  await copyFile(trouble.house.database, older)
  await trouble.start('keyserver')
  await seal(trouble)
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '', 'nobody tampered yet')
  const kept = join(folder, 'checkpoint')
  await writeFile(kept, await lastCheckpoint(trouble.house.database))
  t.equal(await verify(trouble.house.database, '--against', kept), '', 'and it goes on from what was kept elsewhere')

  const leaves = recordsIn(trouble.house.database, 'acme.example')
  const release = leaves.findIndex(({ kind }) => kind === 'released')
  const tampered = async (name: string, act: (database: Database.Database) => unknown) => {
    const copy = join(folder, `${name}.sqlite`)
    await copyFile(trouble.house.database, copy)
    const database = new Database(copy)
    act(database)
    database.close()
    return verify(copy)
  }
  const where = `log = 'acme.example' and idx`
  const flipped = await tampered('flipped', (database) => {
    const read = database.prepare<[], Buffer>(`select record from log_leaf where ${where} = ${release}`).pluck()
    const record = Buffer.from(read.get() ?? '')
    const at = record.indexOf('"rule":"') + 8
    record.writeUInt8(record.readUInt8(at) ^ 1, at)
    database.prepare(`update log_leaf set record = ? where ${where} = ${release}`).run(record)
  })
  t.match(flipped, new RegExp(`TAMPERED.*leaf ${release}\\b`), 'a byte was flipped')
  const dropped = await tampered('dropped', (database) =>
    database.exec(`delete from log_leaf where ${where} = ${release}`),
  )
  t.match(dropped, new RegExp(`TAMPERED \\(gap\\): leaf ${release}\\b`), 'a row was dropped')
  const exchanged = await tampered('exchanged', (database) =>
    database.exec(`update log_leaf set idx = -1 where ${where} = ${release};
      update log_leaf set idx = ${release} where ${where} = ${release - 1};
      update log_leaf set idx = ${release - 1} where ${where} = -1`),
  )
  t.match(exchanged, /TAMPERED \(leaf-moved\)/, 'two were exchanged')
  t.match(exchanged, new RegExp(`leaf ${release - 1}\\b[^]*leaf ${release}\\b`), 'and it says which')
  t.equal(await verify(older), '', 'an older state is consistent in itself')
  t.match(await verify(older, '--against', kept), /TAMPERED \(rolled-back\)/, 'but not with a checkpoint that was kept')
})

async function lastCheckpoint(file: string): Promise<string> {
  const said: string[] = []
  const out = { write: (text: string) => said.push(text) }
  await audit(['checkpoint', file, '--log', 'acme.example'], { stdout: out, stderr: out })
  return said.join('')
}
