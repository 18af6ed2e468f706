import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t from 'tap'
import type { ConfirmResult, IssueRequest, IssueResult } from '../../protocol/gateway-api.ts'
import { acme, known, onlyEnvelope, random32, sealed } from './premises.ts'
import { type Estate, MAIN, runToEnd, start, writeEstate } from './process.ts'

t.test(
  'killed with SIGKILL while it issues, it has kept every envelope that it answered, and its record',
  async (t) => {
    const estate = await writeEstate(t.testdir())
    t.teardown(() => estate.agent.destroy())
    const first = await start(estate)
    const request = requestFor(estate)
    const answered: string[] = []
    const lanes = Array.from({ length: 8 }, async () => {
      const gateway = first.gateway()
      try {
        for (;;) {
          const results = await gateway.bulk<IssueResult>('/v1/issue', [request(), request(), request()])
          answered.push(...results.map((result) => onlyEnvelope(result).id))
        }
      } catch {
        return // The connection ends with the process.
      }
    })
    while (answered.length < 150) await new Promise((resolve) => setTimeout(resolve, 5))
    first.process.kill('SIGKILL')
    await Promise.all(lanes)
    t.match(await first.ended(), { signal: 'SIGKILL' })

    const second = await start(estate)
    const confirms = answered.map((id) => sealed(id, ['bob@example.org']))
    for (let at = 0; at < confirms.length; at += 200) {
      const results = await second.gateway().bulk<ConfirmResult>('/v1/confirm', confirms.slice(at, at + 200))
      t.ok(results.every(({ kind }) => kind === 'confirmed'))
    }
    second.process.kill('SIGTERM')
    t.match(await second.ended(), { code: 0, errors: '' })
    const database = new Database(join(estate.folder, 'keyserver.sqlite'), { readonly: true })
    const rows = database
      .prepare<[], { idx: number; record: Buffer }>(
        "select idx, record from log_leaf where log = 'acme.example' order by idx",
      )
      .all()
    const covered = database
      .prepare<[], { size: number }>("select max(size) as size from log_checkpoint where log = 'acme.example'")
      .get()
    database.close()
    const records = rows.map(({ record }) => JSON.parse(record.toString('utf8')) as { kind: string; envelope: string })
    const issued = new Set(records.filter(({ kind }) => kind === 'issued').map(({ envelope }) => envelope))
    t.ok(
      answered.every((id) => issued.has(id)),
      'each has its record',
    )
    t.strictSame(
      rows.map(({ idx }) => idx),
      rows.map((_, i) => i),
      'the log has no gap',
    )
    t.equal(covered?.size, rows.length, 'the last checkpoint covers all')
  },
)

t.test('where the log cannot be written nothing is issued: 503, try again, and the process lives', async (t) => {
  const estate = await writeEstate(t.testdir())
  t.teardown(() => estate.agent.destroy())
  const running = await start(estate, { largestFile: 1500 })
  const gateway = running.gateway()
  const request = requestFor(estate)
  const body = { instance: gateway.instance, requests: Array.from({ length: 50 }, request) }
  let answer = await gateway.post('/v1/issue', body)
  for (let i = 0; i < 100 && answer.status === 200; i++) {
    answer = await gateway.post('/v1/issue', { ...body, requests: Array.from({ length: 50 }, request) })
  }
  t.equal(answer.status, 503)
  t.equal(answer.headers['retry-after'], '5')
  t.match(answer.body, { code: 'unavailable' })
  t.notMatch(JSON.stringify(answer.body), /sqlite|disk/i, 'the cause is for the log')
  t.equal((await fetch(`${running.addresses.ops}/health/live`)).status, 200)
  running.process.kill('SIGKILL')
  await running.ended()
  const again = await start(estate)
  t.equal((await again.gateway().post('/v1/issue', body)).status, 200, 'with room again, all is well')
  again.process.kill('SIGTERM')
  t.match(await again.ended(), { code: 0 })
})

t.test('a wrong configuration ends with 78 and every fault at once, without a stack', async (t) => {
  const estate = await writeEstate(t.testdir(), (yaml) =>
    yaml
      .replace('port: 0, url', 'port: none, url')
      .replace('keyStore: keys\n', '')
      .replace('level: error', 'level: loud'),
  )
  t.teardown(() => estate.agent.destroy())
  const { code, errors } = await runToEnd(estate.file)
  t.equal(code, 78)
  t.match(errors, /public > port: expected a port number, 0 to 65535/)
  t.match(errors, /the file: keyStore is missing/)
  t.match(errors, /log > level: expected debug, info, warn or error/)
  t.equal(errors.trim().split('\n').length, 3)
  t.notMatch(errors, /at .*\.ts:\d+/)
})

t.test('key files that others can read, and a lost organization key, are refused by name', async (t) => {
  const estate = await writeEstate(t.testdir())
  t.teardown(() => estate.agent.destroy())
  chmodSync(join(estate.folder, 'server.key'), 0o644)
  const first = await runToEnd(estate.file)
  t.equal(first.code, 78)
  t.match(first.errors, /server\.key: the private key can be reached by other users/)
  chmodSync(join(estate.folder, 'server.key'), 0o600)
  writeFileSync(join(estate.folder, 'organization.key'), 'sealpost-kek-1 what is this\n', { mode: 0o600 })
  const second = await runToEnd(estate.file)
  t.equal(second.code, 78)
  t.match(second.errors, /organization\.key is damaged: put it back from its backup/)
})

t.test('a port that is taken is named, and so is what to do', async (t) => {
  const squatter = createServer()
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
  t.teardown(() => squatter.close())
  const address = known(squatter.address())
  const port = typeof address === 'string' ? 0 : address.port
  const estate = await writeEstate(t.testdir(), (yaml) =>
    yaml.replace('ops: {host: 127.0.0.1, port: 0}', `ops: {host: 127.0.0.1, port: ${port}}`),
  )
  t.teardown(() => estate.agent.destroy())
  const { code, errors } = await runToEnd(estate.file)
  t.equal(code, 78)
  t.match(errors, new RegExp(`ops > port: ${port} on 127.0.0.1 is in use`))
})

/** Makes requests to seal for one recipient. */
function requestFor(estate: Estate): () => IssueRequest {
  const policyHash = createHash('sha256')
    .update(readFileSync(join(estate.folder, 'policies/acme.example.yaml')))
    .digest('hex')
  return () => ({
    org: acme,
    policyHash,
    verdict: 'seal',
    rule: 'default',
    sender: null,
    terms: { ttlSeconds: 3600, proof: 'code' },
    messageDigest: null,
    recipients: [{ address: 'bob@example.org' as IssueRequest['recipients'][number]['address'], retryKey: random32() }],
  })
}

t.test('a second one on the same database does not start, and leaves the first alone', async (t) => {
  const estate = await writeEstate(t.testdir())
  t.teardown(() => estate.agent.destroy())
  const first = await start(estate)
  t.match(await runToEnd(estate.file), { code: 78, errors: /is in use by another process; stop that one first/ })
  first.process.kill('SIGKILL')
  await first.ended()
  const second = await start(estate)
  second.process.kill('SIGTERM')
  t.match(await second.ended(), { code: 0, errors: '' })
})

t.test('a log on a full disk keeps it neither from working nor from stopping', async (t) => {
  if (!existsSync('/dev/full')) return void t.comment('no /dev/full here: skipped')
  const port = await freePort()
  const estate = await writeEstate(t.testdir(), (yaml) =>
    yaml.replace('ops: {host: 127.0.0.1, port: 0}', `ops: {host: 127.0.0.1, port: ${port}}`).replace('error', 'info'),
  )
  estate.agent.destroy()
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, estate.file], { stdio: ['ignore', full, 'inherit'] })
  closeSync(full)
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const isAlive = () =>
    fetch(`http://127.0.0.1:${port}/health/live`).then(
      ({ ok }) => ok,
      () => false,
    )
  const deadline = Date.now() + 15_000
  while (!(await isAlive()) && Date.now() < deadline) await sleep(100)
  t.ok(await isAlive(), 'it works')
  child.kill('SIGTERM')
  t.strictSame(await Promise.race([ended, sleep(10_000)]), [0, null], 'it stops in order')
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}
