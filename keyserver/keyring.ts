import { createHash, createPublicKey, hkdfSync, randomBytes, sign } from 'node:crypto'
import { type SignerKey, signerKey } from '../audit/checkpoint.ts'
import type { SigningKeys } from '../protocol/gateway-api.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import type { KekProvider } from './kek-file.ts'
import type { KeyStore } from './key-store.ts'

export { openSecret, sealSecret, unwrapDataKey, wrapDataKey } from './sealing.ts'

/** The server's keys. None of them is ever in the database; all but the organization key lie wrapped in the key store. */
export interface Keyring {
  /** Makes, where needed, the newest bucket for what expires at this time. Its key is on disk when this resolves. */
  currentBucket(org: OrgId, expiresAt: number): Promise<Bucket>
  /** A bucket by its id, null if there is none or it was destroyed. */
  bucket(org: OrgId, id: string): Promise<Bucket | null>
  /** A new bucket for the same day, for rekeying. */
  freshBucket(org: OrgId, id: string): Promise<Bucket>
  destroyBucket(org: OrgId, id: string): Promise<void>
  /** Whether a newer bucket has taken its place, or it was destroyed: nothing more may be sealed under it. */
  isRetired(org: OrgId, id: string): boolean
  /** Every bucket there is. */
  buckets(): Promise<readonly { readonly org: OrgId; readonly id: string }[]>
  /** The key of a person's side-car values; made where it is new, null if it was destroyed. */
  personKey(org: OrgId, pseudonym: string): Promise<Uint8Array | null>
  makePersonKeys(org: OrgId, pseudonyms: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>>
  readonly signer: Signer
  /** 32 octets that only this server knows, one for each label; the same after a restart. For HMACs. */
  derive(label: string): Uint8Array
  /** Throws with plain words if the organization key or the key store does not answer. */
  health(): Promise<void>
}

/** `id` is the expiry day and a generation: `2026-12-22.1`. */
export type Bucket = { readonly id: string; readonly key: Uint8Array }

/** Ed25519: tickets, system stamps, checkpoints. */
export interface Signer {
  readonly kid: string
  readonly jwk: SigningKeys['keys'][number]
  /** 64 octets. */
  sign(octets: Uint8Array): Uint8Array
  /** The same key, as it signs checkpoints of the log of this origin. */
  forLog(origin: string): SignerKey
}

/** Opens the keys behind a provider and a key store; makes the server's own keys where they are new. */
export async function openKeyring(kek: KekProvider, keys: KeyStore): Promise<Keyring> {
  const load = loader(kek, keys)
  const root = await load.orMake('server/root.key', 'sealpost/server/v1\nroot')
  const signer = createSigner(await load.orMake('server/signing.key', 'sealpost/server/v1\nsigning'))
  return {
    ...createBuckets(load, keys),
    ...createPersonKeys(load),
    signer,
    derive: (label) => new Uint8Array(hkdfSync('sha256', root, '', `sealpost/derive/v1\n${label}`, 32)),
    health: async () => {
      await kek.health()
      if ((await keys.get('server/root.key')) === null)
        throw new Error('the key store does not hold what was put there')
    },
  }
}

/** Persons' keys alone, for those who read a log: nothing is made. */
export function openPersonKeys(kek: KekProvider, keys: KeyStore): Pick<Keyring, 'personKey'> {
  return createPersonKeys(loader(kek, keys))
}

type Loader = {
  /** Null if there is none. Throws if what is there was not wrapped by this organization key for this place. */
  find(name: string, aad: string): Promise<Uint8Array | null>
  make(places: readonly { readonly name: string; readonly aad: string }[]): Promise<readonly Uint8Array[]>
  orMake(name: string, aad: string): Promise<Uint8Array>
}

function loader(kek: KekProvider, keys: KeyStore): Loader {
  const self: Loader = {
    find: async (name, aad) => {
      const wrapped = await keys.get(name)
      if (wrapped === null) return null
      const key = await kek.unwrap(wrapped, aad)
      if (key === null) throw new Error(`${name} in the key store was altered, or wrapped by another organization key`)
      return key
    },
    make: async (places) => {
      const made = places.map((place) => ({ ...place, key: randomBytes(32) }))
      const objects = made.map(async ({ name, aad, key }) => ({ name, octets: await kek.wrap(key, aad) }))
      await keys.put(await Promise.all(objects))
      return made.map(({ key }) => key)
    },
    orMake: async (name, aad) => {
      const found = await self.find(name, aad)
      if (found !== null) return found
      const [made] = await self.make([{ name, aad }])
      if (made === undefined) throw new Error(`${name} could not be made`)
      return made
    },
  }
  return self
}

type BucketKeys = Pick<Keyring, 'currentBucket' | 'bucket' | 'freshBucket' | 'destroyBucket' | 'isRetired' | 'buckets'>

function createBuckets(load: Loader, keys: KeyStore): BucketKeys {
  const known = new Map<string, Bucket>()
  const current = new Map<string, Promise<Bucket>>()
  const newest = new Map<string, string>()
  const destroyed = new Set<string>()

  const place = (org: OrgId, id: string) => ({
    name: `buckets/${org}/${id}.key`,
    aad: `sealpost/bucket/v1\n${org}\n${id}`,
  })
  async function generations(org: OrgId, day: string): Promise<readonly number[]> {
    const ids = (await keys.list(`buckets/${org}`)).map((name) => BUCKET.exec(name))
    return ids.flatMap((found) => (found?.[2] === day ? [Number(found[3])] : [])).sort((a, b) => a - b)
  }
  async function bucket(org: OrgId, id: string): Promise<Bucket | null> {
    const cached = known.get(`${org}/${id}`)
    if (cached !== undefined) return cached
    if (!/^\d{4}-\d\d-\d\d\.\d+$/.test(id)) return null
    const { name, aad } = place(org, id)
    const key = await load.find(name, aad)
    if (key === null || destroyed.has(`${org}/${id}`)) return null
    known.set(`${org}/${id}`, { id, key })
    return { id, key }
  }
  async function make(org: OrgId, day: string, generation: number): Promise<Bucket> {
    const id = `${day}.${generation}`
    const [key] = await load.make([place(org, id)])
    if (key === undefined) throw new Error(`bucket ${id} could not be made`)
    known.set(`${org}/${id}`, { id, key })
    newest.set(`${org}/${day}`, id)
    return { id, key }
  }
  async function newestOf(org: OrgId, day: string): Promise<Bucket> {
    const last = (await generations(org, day)).at(-1)
    if (last === undefined) return await make(org, day, 1)
    newest.set(`${org}/${day}`, `${day}.${last}`)
    return (await bucket(org, `${day}.${last}`)) ?? (await make(org, day, last + 1))
  }
  return {
    bucket,
    currentBucket: (org, expiresAt) => {
      const day = new Date(expiresAt).toISOString().slice(0, 10)
      const found = current.get(`${org}/${day}`)
      if (found !== undefined) return found
      const made = newestOf(org, day)
      current.set(`${org}/${day}`, made)
      made.catch(() => current.delete(`${org}/${day}`))
      return made
    },
    freshBucket: async (org, id) => {
      const day = id.slice(0, 10)
      const made = make(org, day, ((await generations(org, day)).at(-1) ?? 0) + 1)
      await made
      current.set(`${org}/${day}`, made)
      return await made
    },
    isRetired: (org, id) => destroyed.has(`${org}/${id}`) || (newest.get(`${org}/${id.slice(0, 10)}`) ?? id) !== id,
    destroyBucket: async (org, id) => {
      destroyed.add(`${org}/${id}`)
      known.get(`${org}/${id}`)?.key.fill(0)
      known.delete(`${org}/${id}`)
      if (newest.get(`${org}/${id.slice(0, 10)}`) === id) current.delete(`${org}/${id.slice(0, 10)}`)
      await keys.remove(place(org, id).name)
    },
    buckets: async () =>
      (await keys.list('buckets')).flatMap((name) => {
        const found = BUCKET.exec(name)
        return found === null ? [] : [{ org: found[1] as OrgId, id: `${found[2]}.${found[3]}` }]
      }),
  }
}

const BUCKET = /^buckets\/([^/]+)\/(\d{4}-\d\d-\d\d)\.(\d+)\.key$/

function createPersonKeys(load: Loader): Pick<Keyring, 'personKey' | 'makePersonKeys'> {
  const place = (org: OrgId, pseudonym: string) => ({
    name: `persons/${org}/p${pseudonym}.key`,
    aad: `sealpost/person/v1\n${org}\n${pseudonym}`,
  })
  return {
    personKey: async (org, pseudonym) => {
      const { name, aad } = place(org, pseudonym)
      return await load.find(name, aad)
    },
    makePersonKeys: async (org, pseudonyms) => {
      const made = await load.make(pseudonyms.map((pseudonym) => place(org, pseudonym)))
      return new Map(
        pseudonyms.flatMap((pseudonym, i) => (made[i] === undefined ? [] : [[pseudonym, made[i]] as const])),
      )
    },
  }
}

function createSigner(seed: Uint8Array): Signer {
  const { privateKey } = signerKey('sealpost', seed)
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  const kid = createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url')
  return {
    kid,
    jwk: { kty: 'OKP', crv: 'Ed25519', kid, x },
    sign: (octets) => sign(null, octets, privateKey),
    forLog: (origin) => signerKey(origin, seed),
  }
}
