import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import type { Hash } from './tree.ts'

/** C2SP tlog-checkpoint: which log, how many leaves, and their root. */
export type Checkpoint = { readonly origin: string; readonly size: number; readonly root: Hash }

/** C2SP signed-note: a key by its name and id. The name of a log's key is the log's origin. */
export type VerifierKey = { readonly name: string; readonly id: Uint8Array; readonly key: KeyObject }
export type SignerKey = VerifierKey & { readonly privateKey: KeyObject }

export type Note = {
  readonly checkpoint: Checkpoint
  /** What was signed: everything up to the empty line, its line end included. */
  readonly text: string
  readonly signatures: readonly { readonly name: string; readonly id: Uint8Array; readonly signature: Uint8Array }[]
}

const ED25519 = 0x01
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const DASH = '\u2014'
const SIGNATURE = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u

/** `<host>/log/<log>`: a log's origin, and the name of its key. */
export function originOf(host: string, log: string): string {
  return `${host}/log/${log}`
}

/**
 * The key that signs checkpoints of `name`. `secret` is an Ed25519 private key: PEM (PKCS #8) text, or its 32 octets. One secret may sign for
 * several logs; the ids differ because the names do. Throws where it is neither, or the name has a space or a plus in it.
 */
export function signerKey(name: string, secret: string | Uint8Array): SignerKey {
  const privateKey =
    typeof secret === 'string'
      ? createPrivateKey(secret)
      : createPrivateKey({ key: Buffer.concat([PKCS8, secret]), format: 'der', type: 'pkcs8' })
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new TypeError('the log key must be an Ed25519 private key')
  return { ...keyOf(name, createPublicKey(privateKey)), privateKey }
}

/** `<name>+<id, 8 hex digits>+<base64 of 0x01 || public key>`: the form in which a verifier key is handed on. */
export function verifierKey(key: VerifierKey): string {
  return `${key.name}+${Buffer.from(key.id).toString('hex')}+${Buffer.concat([Buffer.of(ED25519), raw(key.key)]).toString('base64')}`
}

/** The key in a {@link verifierKey} string; null if it is none, or its id does not fit its name and key. */
export function parseVerifierKey(text: string): VerifierKey | null {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(text.trim())
  const [, name = '', id = '', encoded = ''] = found ?? []
  const octets = Buffer.from(encoded, 'base64')
  if (octets.length !== 33 || octets[0] !== ED25519 || octets.toString('base64') !== encoded) return null
  const key = createPublicKey({ key: Buffer.concat([SPKI, octets.subarray(1)]), format: 'der', type: 'spki' })
  const parsed = keyOf(name, key)
  return Buffer.from(parsed.id).toString('hex') === id ? parsed : null
}

/** The signed note of a checkpoint. `key.name` must be its origin. */
export function signCheckpoint(checkpoint: Checkpoint, key: SignerKey): string {
  const text = checkpointText(checkpoint)
  const signature = Buffer.concat([key.id, sign(null, Buffer.from(text, 'utf8'), key.privateKey)])
  return `${text}\n${DASH} ${key.name} ${signature.toString('base64')}\n`
}

/** `<origin>\n<size>\n<base64 root>\n` */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`
}

/** The note in `text`, or null if it is not a signed checkpoint. Signatures are not checked: see {@link verifyNote}. */
export function parseNote(text: string): Note | null {
  const end = text.lastIndexOf('\n\n')
  if (end < 0 || !text.endsWith('\n') || text.length > 1_000_000) return null
  const body = text.slice(0, end + 1)
  const checkpoint = parseCheckpoint(body)
  const signatures = text
    .slice(end + 2, -1)
    .split('\n')
    .map(parseSignature)
  if (checkpoint === null || !signatures.every((signature) => signature !== null)) return null
  return { checkpoint, text: body, signatures }
}

/** True if one of the keys that bears the checkpoint's origin as its name has signed it. */
export function verifyNote(note: Note, keys: readonly VerifierKey[]): boolean {
  return keys.some(
    (key) =>
      key.name === note.checkpoint.origin &&
      note.signatures.some(
        (found) =>
          found.name === key.name &&
          Buffer.compare(found.id, key.id) === 0 &&
          verify(null, Buffer.from(note.text, 'utf8'), key.key, found.signature),
      ),
  )
}

function parseCheckpoint(text: string): Checkpoint | null {
  const [origin = '', size = '', root = ''] = text.split('\n')
  const hashed = Buffer.from(root, 'base64')
  const fits = /^(0|[1-9]\d{0,15})$/.test(size) && Number.isSafeInteger(Number(size))
  if (origin === '' || !fits || hashed.length !== 32 || hashed.toString('base64') !== root) return null
  return { origin, size: Number(size), root: hashed }
}

function parseSignature(line: string): Note['signatures'][number] | null {
  const [, name = '', encoded = ''] = SIGNATURE.exec(line) ?? []
  const octets = Buffer.from(encoded, 'base64')
  if (octets.length < 5 || octets.toString('base64') !== encoded) return null
  return { name, id: octets.subarray(0, 4), signature: octets.subarray(4) }
}

function keyOf(name: string, key: KeyObject): VerifierKey {
  if (!/^[^\s+]+$/u.test(name)) throw new TypeError('the name of a log key has no space and no plus in it')
  const id = hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ED25519), raw(key)]), 'buffer')
  return { name, id: id.subarray(0, 4), key }
}

function raw(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(-32)
}
