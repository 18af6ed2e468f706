import { createHash, createPublicKey, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Encoding } from '../../envelope/context.ts'
import { sealWhole } from '../../envelope/writer.ts'
import { createCopiesServer } from '../../gateway/copies-http.ts'
import { createPublicApp } from '../../keyserver/public.ts'
import { sealSecret, wrapDataKey } from '../../keyserver/sealing.ts'
import { type EnvelopeId, parseEnvelopeId } from '../../protocol/identifiers.ts'
import { buildReader } from '../../reader/build.ts'
import { address, type House, openHouse, org } from '../keyserver/house.ts'

/** A key server and a sealed-copy store that a real browser can reach, and mail that was sealed for it. */
export type Stage = {
  readonly house: House
  /** The reader's origin: http://localhost:<port>, which browsers take for secure. */
  readonly origin: string
  readonly copiesOrigin: string
  /** Seals a message and confirms it, as a gateway would. */
  seal(message: string | Uint8Array, options?: SealedMail): Promise<Sealed>
  /** Takes a sealed copy from the store. */
  removeCopy(id: EnvelopeId): void
  /** Puts other octets in its place. */
  replaceCopy(id: EnvelopeId, octets: Uint8Array): void
  code(before: number): Promise<string>
}

export type SealedMail = {
  readonly sender?: string | null
  readonly recipients?: readonly string[]
  readonly ttlSeconds?: number
  readonly encoding?: Encoding
}

export type Sealed = {
  readonly id: EnvelopeId
  readonly link: string
  readonly octets: Uint8Array
}

type Test = { teardown(act: () => Promise<void>): unknown }

/** Opens a stage that ends with the test, with a page that was just built. */
export async function openStage(test: Test): Promise<Stage> {
  const house = await openHouse(test)
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-stage-'))
  const copies = new Map<string, Uint8Array>()
  const port = await freePort()
  const origin = `http://localhost:${port}`
  const store = await openCopies(house, copies, origin)
  const { config } = house.parts
  const gateways = { gw1: { organizations: [org], copies: store.origin } }
  const reachable = { ...config, public: { ...config.public, url: origin }, gateways }
  const page = join(folder, 'page')
  await buildReader(page)
  const app = await createPublicApp(
    { ...house.parts, config: reachable, log: pino({ level: 'silent' }) },
    { folder: page },
  )
  await app.listen({ host: '127.0.0.1', port })
  test.teardown(async () => {
    app.server.closeAllConnections()
    await app.close()
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    house,
    origin,
    copiesOrigin: store.origin,
    async seal(message, options = {}) {
      const sealed = await seal(house, Buffer.from(message), options)
      copies.set(sealed.id, sealed.octets)
      return { ...sealed, link: `${origin}/m/${sealed.id}` }
    },
    removeCopy: (id) => void copies.delete(id),
    replaceCopy: (id, octets) => void copies.set(id, octets),
    code: (before) => house.code(before),
  }
}

async function seal(house: House, message: Buffer, options: SealedMail): Promise<Omit<Sealed, 'link'>> {
  const { store, keyring, clock } = house.parts
  const {
    sender = 'anna@acme.example',
    recipients = ['bea@example.org'],
    ttlSeconds = 86_400,
    encoding = 'identity',
  } = options
  const id = parseEnvelopeId(randomBytes(16).toString('base64url'))
  if (id === null) throw new Error('no envelope id')
  const [secret, dataKey] = [randomBytes(32), randomBytes(32)]
  const termsHash = randomBytes(32).toString('base64url')
  const wrappedKey = wrapDataKey(secret, dataKey, { org, envelope: id, termsHash })
  const context = { org, envelope: id, terms: termsHash, encoding }
  const octets = sealWhole(message, { dataKey, wrappedKey, context })
  const issuedAt = clock.now()
  const bucket = await keyring.currentBucket(org, issuedAt + ttlSeconds * 1000)
  await store.transact(async (tx) => {
    await tx.envelopes.add({
      id,
      org,
      kind: 'seal',
      sender: sender === null ? null : address(sender),
      rule: 'outside',
      policyHash: 'a'.repeat(64),
      terms: { ttlSeconds, proof: 'code' },
      termsHash,
      expiresAt: issuedAt + ttlSeconds * 1000,
      bucket: bucket.id,
      sealedSecret: sealSecret(bucket.key, secret, { org, envelope: id, bucket: bucket.id }),
      gateway: 'gw1',
      issuedAt,
      confirmBy: issuedAt + 600_000,
      messageDigest: null,
      recipients: recipients.map((one) => ({ address: address(one), retryKey: null })),
    })
    await tx.envelopes.confirm(id, issuedAt)
    const digest = createHash('sha256').update(octets).digest('base64url')
    const sizes = { sealedSize: octets.length, plainSize: message.length }
    await tx.envelopes.addCopy({ envelope: id, digest, ...sizes, gateway: 'gw1', at: issuedAt })
  })
  return { id, octets }
}

/** The gateway's own copies listener over copies in memory. */
async function openCopies(house: House, copies: Map<string, Uint8Array>, reader: string) {
  const { jwk } = house.parts.keyring.signer
  const server = createCopiesServer({
    copies: {
      async get(id) {
        const octets = copies.get(id)
        if (octets === undefined) return null
        return {
          size: octets.length,
          async *chunks() {
            for (let at = 0; at < octets.length; at += 65_536) yield octets.subarray(at, at + 65_536)
          },
          close: async () => undefined,
        }
      },
      has: async (id) => copies.has(id),
      put: () => Promise.reject(new Error('not needed here')),
      settle: () => Promise.reject(new Error('not needed here')),
      delete: async (id) => copies.delete(id),
      close: () => undefined,
    },
    findKey: async (kid) => (kid === jwk.kid ? createPublicKey({ format: 'jwk', key: { ...jwk } }) : null),
    origins: [reader],
    limit: 10,
    now: () => new Date(house.parts.clock.now()),
    onFailure: (_, error) => {
      throw error
    },
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = () => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  }
  return { origin: `http://localhost:${port}`, close }
}

/** The origin has to be known before the listener is made. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}
