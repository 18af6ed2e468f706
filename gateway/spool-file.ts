import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import type { Lent } from '../envelope/lent.ts'
import { type SpoolKey, WRAPPED_LENGTH } from './spool-key.ts'

/**
 * A file of the spool: `SPSPOOL1`, the wrapped data key, then records, each with its length (4 octets, big endian) before it: AES-256-GCM
 * under the data key, numbered by the nonce. The first record holds JSON, those after it the mail; the last one says in its nonce that it is the
 * last, so that a file that was cut off is not taken for a whole one.
 */

const MAGIC = Buffer.from('SPSPOOL1', 'latin1')
/** Octets before the first record. */
export const HEAD = MAGIC.length + WRAPPED_LENGTH
const TAG = 16
const CIPHER = 'aes-256-gcm'
/** Plain octets of a record. */
const RECORD = 256 * 1024
/** Octets that are read at a time: most mails are smaller, and each reading costs more than what it reads. */
const READ_AHEAD = 64 * 1024
/** A record that says to be longer is damaged. The first holds up to 500 recipients and the returned header fields. */
const LONGEST = 8 * 1024 * 1024

/** What is written: JSON, and the octets of a mail, or none. */
export type SpoolContent = { readonly meta: unknown; readonly mail: Lent | null }

/** The file's octets, in large pieces. `name` is bound into it: the file cannot be put in the place of another. */
export async function* encodeSpoolFile(key: SpoolKey, name: string, content: SpoolContent): AsyncGenerator<Uint8Array> {
  const dataKey = randomBytes(32)
  const secret = createSecretKey(dataKey)
  let records = 0
  const seal = (plain: Uint8Array, last: boolean): Uint8Array => {
    const cipher = createCipheriv(CIPHER, secret, nonce(records++, last))
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(plain.length + TAG)
    return Buffer.concat([length, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }
  const meta = Buffer.from(JSON.stringify(content.meta), 'utf8')
  if (meta.length > LONGEST - TAG) throw new Error('the envelope of the mail is too large for the spool')
  const head = [MAGIC, key.wrap(dataKey, name), seal(meta, content.mail === null)]
  if (content.mail === null) {
    yield Buffer.concat(head)
    return
  }
  let waiting: Uint8Array[] = []
  let size = 0
  for await (const chunk of content.mail) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + RECORD - size)
      waiting.push(Buffer.from(part))
      size += part.length
      at += part.length
      if (size < RECORD) continue
      yield Buffer.concat([...head.splice(0), seal(Buffer.concat(waiting), false)])
      waiting = []
      size = 0
    }
  }
  yield Buffer.concat([...head, seal(Buffer.concat(waiting), true)])
}

/** The JSON of a file. Throws where the file is damaged, another one's, or under another key. */
export async function readSpoolMeta(key: SpoolKey, name: string, path: string): Promise<unknown> {
  const file = await open(path, 'r')
  try {
    const records = await openRecords(file, key, name)
    const first = await records.next()
    return JSON.parse(Buffer.from(first.plain).toString('utf8'))
  } finally {
    await file.close()
  }
}

/** The octets of its mail. Throws, at the latest at the end, where they are not the ones that were written. */
export async function* readSpoolMail(key: SpoolKey, name: string, path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const records = await openRecords(file, key, name)
    let record = await records.next()
    while (!record.last) {
      record = await records.next()
      if (record.plain.length > 0) yield record.plain
    }
  } finally {
    await file.close()
  }
}

type SealedRecord = { readonly plain: Uint8Array; readonly last: boolean }

async function openRecords(file: FileHandle, key: SpoolKey, name: string) {
  const { size } = await file.stat()
  let at = 0
  let ahead: Buffer = Buffer.alloc(0)
  const take = async (length: number): Promise<Buffer> => {
    if (length > size - at) throw new Error('a file of the spool is shorter than it was written')
    if (length > ahead.length) {
      const octets = Buffer.allocUnsafe(Math.min(Math.max(length, READ_AHEAD), size - at))
      const { bytesRead } = await file.read(octets, 0, octets.length, at)
      if (bytesRead < octets.length) throw new Error('a file of the spool is shorter than it was written')
      ahead = octets
    }
    const octets = ahead.subarray(0, length)
    ahead = ahead.subarray(length)
    at += length
    return octets
  }
  const head = await take(HEAD)
  if (!head.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('this is no file of the spool')
  const secret = createSecretKey(key.unwrap(head.subarray(MAGIC.length), name))
  let records = 0
  return {
    async next(): Promise<SealedRecord> {
      const length = (await take(4)).readUInt32BE()
      if (length < TAG || length > LONGEST) throw new Error('a file of the spool is damaged')
      const sealed = await take(length)
      const last = at === size
      const decipher = createDecipheriv(CIPHER, secret, nonce(records++, last))
      decipher.setAuthTag(sealed.subarray(length - TAG))
      return { plain: Buffer.concat([decipher.update(sealed.subarray(0, length - TAG)), decipher.final()]), last }
    },
  }
}

function nonce(index: number, last: boolean): Uint8Array {
  const octets = Buffer.alloc(12)
  octets.writeUInt8(last ? 1 : 0, 0)
  octets.writeUInt32BE(index, 8)
  return octets
}
