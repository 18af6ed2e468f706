import { type ChildProcess, fork } from 'node:child_process'
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { createAgreementKey, openJwe } from '../reader/jwe.ts'
import { decideRelease, loadPolicy } from '../rulebook/index.ts'
import { address, openHouse, org } from '../test/keyserver/house.ts'

/**
 * Releases per second, log durable, and their p50 and p99: the key server's public listener in one process (real HTTP, SQLite with an
 * fsync for each commit, the sample policy), the load in another, on this machine. Proofs are made beforehand, since browsers make
 * theirs elsewhere. First as fast as 32 kept connections go, then at a fixed rate with latency counted from when each was due.
 * `node bench/release.ts [rate] [seconds]`, one JSON line a run.
 */

const CONNECTIONS = 32
const PEOPLE = 50

type Ready = { readonly base: string; readonly origin: string; readonly envelope: string; readonly wrappedKey: string }
type Browser = {
  readonly token: string
  readonly proofs: (path: string, nonce: string, body: string) => string
  readonly thumbprint: string
}

if (process.argv[2] === 'serve') await serve()
else await main(Number(process.argv[2] ?? 500), Number(process.argv[3] ?? 10))

/** The server's process. It is told sessions by the parent: the codes are another measurement. */
async function serve(): Promise<void> {
  const house = await openHouse({
    teardown: (end) => process.once('disconnect', () => void end().then(() => process.exit())),
  })
  const text = readFileSync(new URL('../policies/acme.example.yaml', import.meta.url), 'utf8')
  const loaded = loadPolicy(text, 'acme.example.yaml')
  if (loaded.kind !== 'policy') throw new Error('the sample policy does not load')
  house.decide = (facts) => decideRelease(loaded.policy, facts)
  const people = Array.from({ length: PEOPLE }, (_, i) => `person${i}@example.org`)
  const { id, wrappedKey } = await house.issue({ recipients: people })
  process.on('message', (asked: 'cpu' | readonly { id: string; thumbprint: string }[]) => {
    if (asked === 'cpu') return process.send?.(process.cpuUsage())
    const now = Date.now()
    const rows = asked.map((session, i) => ({
      ...session,
      org,
      address: address(people[i] ?? ''),
      createdAt: now,
      expiresAt: now + 3_600_000,
    }))
    return void house.parts.store
      .transact(async (tx) => {
        for (const row of rows) await tx.sessions.add(row)
      })
      .then(() => process.send?.('go'))
  })
  process.send?.({
    base: house.base,
    origin: house.origin,
    envelope: id,
    wrappedKey: Buffer.from(wrappedKey).toString('base64url'),
  })
}

async function main(rate: number, seconds: number): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'], { stdio: 'inherit' })
  try {
    const ready = (await once(child)) as Ready
    const browsers = Array.from({ length: PEOPLE }, makeBrowser(ready.origin))
    child.send(browsers.map(({ token, thumbprint }) => ({ id: sha256(token), thumbprint })))
    await once(child)
    const agreement = await createAgreementKey()
    const body = JSON.stringify({ envelope: ready.envelope, wrappedKey: ready.wrappedKey, key: agreement.publicKey })
    const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
    const post = (browser: Browser, proof: string) => send(agent, ready.base, browser.token, proof, body)
    const nonce = (await post(at(browsers, 0), 'none')).nonce
    const make = (count: number) =>
      Array.from({ length: count }, (_, i) => {
        const browser = at(browsers, i % PEOPLE)
        return { browser, proof: browser.proofs('/v1/release', nonce, body) }
      })
    const shots = { warm: make(2_000), full: make(10_000), paced: make(rate * seconds) }
    await flatOut(shots.warm, post)
    const before = await cpuOf(child)
    const full = await flatOut(shots.full, post)
    print('full speed', full, (await cpuOf(child)) - before)
    const between = await cpuOf(child)
    const paced = await atRate(shots.paced, rate, post)
    print(`${rate} a second`, paced, (await cpuOf(child)) - between)
    const shot = at(paced.answers, 0)
    const bound = { envelope: ready.envelope, proof: shot.proof }
    if ((await openJwe(JSON.parse(shot.body).jwe, agreement, bound)) === null)
      throw new Error('a release does not open')
    agent.destroy()
  } finally {
    if (child.connected) child.disconnect()
  }
}

type Shot = { readonly browser: Browser; readonly proof: string }
type Post = (browser: Browser, proof: string) => Promise<{ status: number; nonce: string; body: string }>
type Run = {
  readonly millis: readonly number[]
  readonly elapsed: number
  readonly answers: readonly { proof: string; body: string }[]
  failed: number
}

async function flatOut(shots: readonly Shot[], post: Post): Promise<Run> {
  const run: Run & { millis: number[]; answers: { proof: string; body: string }[] } = {
    millis: [],
    elapsed: 0,
    answers: [],
    failed: 0,
  }
  const start = performance.now()
  let next = 0
  const worker = async () => {
    for (let shot = shots[next++]; shot !== undefined; shot = shots[next++])
      await fire(run, shot, post, performance.now())
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  return { ...run, elapsed: performance.now() - start }
}

async function atRate(shots: readonly Shot[], rate: number, post: Post): Promise<Run> {
  const run: Run & { millis: number[]; answers: { proof: string; body: string }[] } = {
    millis: [],
    elapsed: 0,
    answers: [],
    failed: 0,
  }
  const start = performance.now()
  const flying: Promise<void>[] = []
  for (const [i, shot] of shots.entries()) {
    const due = start + (i * 1000) / rate
    while (performance.now() < due)
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())))
    flying.push(fire(run, shot, post, due))
  }
  await Promise.all(flying)
  return { ...run, elapsed: performance.now() - start }
}

async function fire(
  run: { millis: number[]; answers: { proof: string; body: string }[]; failed: number },
  { browser, proof }: Shot,
  post: Post,
  due: number,
): Promise<void> {
  const { status, body } = await post(browser, proof)
  if (status !== 200) run.failed += 1
  run.millis.push(performance.now() - due)
  if (run.answers.length < 10 && status === 200) run.answers.push({ proof, body })
}

/** What the server's process has used until now, milliseconds: comparable on a machine that others use too. */
async function cpuOf(child: ChildProcess): Promise<number> {
  child.send('cpu')
  const { user, system } = (await once(child)) as NodeJS.CpuUsage
  return (user + system) / 1000
}

function print(name: string, { millis, elapsed, failed }: Run, cpu: number): void {
  const sorted = millis.toSorted((a, b) => a - b)
  const quantile = (q: number) =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0).toFixed(1))
  const perSecond = Math.round((millis.length * 1000) / elapsed)
  const line = {
    bench: 'release',
    name,
    releases: millis.length,
    failed,
    perSecond,
    p50: quantile(0.5),
    p99: quantile(0.99),
    max: quantile(1),
    cpuMillisEach: Number((cpu / millis.length).toFixed(3)),
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function makeBrowser(origin: string) {
  return (): Browser => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x, y } = publicKey.export({ format: 'jwk' })
    const thumbprint = sha256(`{"crv":"P-256","kty":"EC","x":"${x}","y":"${y}"}`)
    const token = randomBytes(32).toString('base64url')
    const header = part({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty: 'EC', crv: 'P-256', x, y } })
    const proofs = (path: string, nonce: string, body: string) => {
      const jti = randomBytes(16).toString('base64url')
      const claims = { jti, iat: 0, htm: 'POST', htu: origin + path, nonce, bsh: sha256(body), ath: sha256(token) }
      const signed = `${header}.${part(claims)}`
      const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      return `${signed}.${signature.toString('base64url')}`
    }
    return { token, proofs, thumbprint }
  }
}

function send(agent: Agent, base: string, token: string, proof: string, body: string) {
  return new Promise<{ status: number; nonce: string; body: string }>((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': body.length,
      dpop: proof,
      authorization: `DPoP ${token}`,
    }
    const outgoing = request(`${base}/v1/release`, { method: 'POST', agent, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        const nonce = String(response.headers['dpop-nonce'])
        resolve({ status: response.statusCode ?? 0, nonce, body: Buffer.concat(chunks).toString() })
      })
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function once(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', () => reject(new Error('the server ended')))
  })
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index]
  if (value === undefined) throw new Error('nothing there')
  return value
}
