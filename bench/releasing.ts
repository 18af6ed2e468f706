import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReleaseAnswer } from '../protocol/reader-api.ts'
import { parseRelease } from '../reader/answer.ts'
import { createApi } from '../reader/api.ts'
import { createProof, createProofKey, type ProofKey } from '../reader/dpop.ts'
import { type AgreementKey, createAgreementKey, openJwe } from '../reader/jwe.ts'
import type { Catcher } from './catcher.ts'
import { type Envelope, type Rate, timed } from './issuing.ts'
import { latencyOf, round } from './statistics.ts'

/** Recipients of a key server, each with a key and a session of their own, won by a real code out of a real mail. */

type Person = {
  readonly address: string
  readonly key: ProofKey
  readonly agreement: AgreementKey
  readonly token: string
}
/** A request ready to leave: proofs are made before the clock runs, since real ones are made on the recipients' machines. */
type Shot = { readonly person: Person; readonly envelope: string; readonly proof: string; readonly body: Buffer }

export type Releasing = {
  /** One release of each envelope, `inFlight` at a time. */
  flatOut(envelopes: readonly Envelope[], inFlight: number): Promise<Rate>
  /** The same at a fixed rate, times counted from when each was due. */
  atRate(envelopes: readonly Envelope[], perSecond: number): Promise<Rate>
  close(): void
}

/** `firsts` holds an envelope for each person: a code is asked for it. */
export async function createReleasing(
  origin: string,
  firsts: readonly Envelope[],
  catcher: Catcher,
): Promise<Releasing> {
  let nonce = ''
  const fetch: typeof globalThis.fetch = async (path, init) => {
    const response = await globalThis.fetch(new URL(String(path), origin), init)
    nonce = response.headers.get('DPoP-Nonce') ?? nonce
    return response
  }
  const people = new Map<string, Person>()
  for (const first of firsts) people.set(first.address, await signIn(origin, first, catcher, fetch))
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const url = `${origin}/v1/release`

  async function shotAt({ id, wrappedKey, address }: Envelope): Promise<Shot> {
    const person = people.get(address)
    if (person === undefined) throw new Error(`nobody has proven ${address}`)
    const key = person.agreement.publicKey
    const asked = { envelope: id, wrappedKey: Buffer.from(wrappedKey).toString('base64url'), key }
    const body = Buffer.from(JSON.stringify(asked))
    return {
      person,
      envelope: id,
      body,
      proof: await createProof(person.key, { url, body, nonce, token: person.token }),
    }
  }
  const shotsAt = async (envelopes: readonly Envelope[]) => {
    // One call tells the nonce of now.
    await fetch('/v1/ticket', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })
    const shots: Shot[] = []
    for (const envelope of envelopes) shots.push(await shotAt(envelope))
    return shots
  }
  const fire = async (shot: Shot): Promise<void> => {
    const { status, text } = await post(agent, url, shot)
    if (status !== 200) throw new Error(`a release was refused: ${status} ${text}`)
    if (Math.random() < 0.01) await checkRelease(shot, text)
  }

  return {
    async flatOut(envelopes, inFlight) {
      const shots = await shotsAt(envelopes)
      return timed(shots.length, inFlight, async (number) => fire(known(shots[number])))
    },
    async atRate(envelopes, perSecond) {
      const shots = await shotsAt(envelopes)
      const times: number[] = []
      const begin = performance.now()
      const flying: Promise<void>[] = []
      for (const [number, shot] of shots.entries()) {
        const due = begin + (number * 1000) / perSecond
        while (performance.now() < due) await sleep(Math.max(0, due - performance.now()))
        flying.push(fire(shot).then(() => void times.push(performance.now() - due)))
      }
      await Promise.all(flying)
      const { count, p50, p99 } = latencyOf(times)
      return { count, perSecond: round((count * 1000) / (performance.now() - begin)), p50, p99 }
    },
    close: () => agent.destroy(),
  }
}

async function signIn(
  origin: string,
  first: Envelope,
  catcher: Catcher,
  fetch: typeof globalThis.fetch,
): Promise<Person> {
  const key = await createProofKey()
  const api = createApi({ origin, key, fetch })
  const before = catcher.mails.length
  const asked = await api.askCode(first.id, first.address)
  if (asked.kind !== 'ok') throw new Error(`no code for ${first.address}: ${JSON.stringify(asked)}`)
  await catcher.wait(before + 1)
  const code = /^\d{8}\r?$/m.exec(catcher.mails.at(-1)?.toString('latin1') ?? '')?.[0].trim() ?? ''
  const answered = await api.answerCode(asked.value.challenge, code)
  if (answered.kind !== 'ok') throw new Error(`the code was not taken: ${JSON.stringify(answered)}`)
  return { address: first.address, key, agreement: await createAgreementKey(), token: answered.value.token }
}

/** A sample is opened, so that nobody measures fast nonsense. */
async function checkRelease({ person, envelope, proof }: Shot, text: string): Promise<void> {
  // The key server's own answer, status 200.
  const { jwe } = JSON.parse(text) as ReleaseAnswer
  const release = parseRelease(await openJwe(jwe, person.agreement, { envelope, proof }))
  if (release?.dataKey.length !== 43) throw new Error('a release does not open')
}

function post(agent: Agent, url: string, { person, proof, body }: Shot): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': body.length,
      dpop: proof,
      authorization: `DPoP ${person.token}`,
    }
    const outgoing = request(url, { method: 'POST', agent, headers }, (response: IncomingMessage) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      response.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.setNoDelay(true)
    outgoing.end(body)
  })
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is no such request')
  return value
}
