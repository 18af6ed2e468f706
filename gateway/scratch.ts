import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { giveBack, type Lent } from '../envelope/lent.ts'

/**
 * What waits on disk: a file without a name, whose octets are worth nothing without a key that exists only in memory. Written in records
 * of AES-256-GCM, numbered by their nonce, so that every octet is checked before it is handed out.
 */
export type Scratch = {
  /** Keeps a copy: the octets may be used again at once. */
  write(chunk: Uint8Array): Promise<void>
  /** No more will be written. */
  finish(): Promise<void>
  /** The octets from `from` up to `to`, as often as asked, after `finish`. Throws if the file is not as it was written. */
  read(from: number, to: number): Lent
  /** Gives the disk space back; may be called again. */
  close(): Promise<void>
}

/** Plain octets of a record. */
const RECORD = 256 * 1024
const TAG = 16
const CIPHER = 'aes-256-gcm'

/** Opens a scratch file in `folder`, mode 0600, and removes its name at once. */
export async function createScratch(folder: string): Promise<Scratch> {
  const path = join(folder, `scratch-${randomBytes(16).toString('hex')}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    await unlink(path)
  } catch (cause) {
    await file.close()
    throw cause
  }
  // The key serves this one file, so the record's number is a nonce that never repeats.
  const key = randomBytes(32)
  // Of plain octets Node makes one for each record, at several times the price of what it encrypts.
  const secret = createSecretKey(key)
  key.fill(0)
  const waiting = Buffer.allocUnsafeSlow(RECORD)
  let filled = 0
  let records = 0
  let closed = false

  async function flush(plain: Uint8Array): Promise<void> {
    const cipher = createCipheriv(CIPHER, secret, nonce(records))
    const sealed = cipher.update(plain)
    // GCM keeps nothing back: this only makes the tag.
    cipher.final()
    records += 1
    const size = sealed.length + TAG
    const { bytesWritten } = await file.writev([sealed, cipher.getAuthTag()])
    if (bytesWritten < size) await file.writeFile(Buffer.concat([sealed, cipher.getAuthTag()]).subarray(bytesWritten))
    giveBack(sealed)
  }

  async function readRecord(index: number, sealed: Buffer): Promise<Uint8Array> {
    const { bytesRead } = await file.read(sealed, 0, sealed.length, index * (RECORD + TAG))
    if (bytesRead < TAG) throw new Error('the scratch file is shorter than what was written')
    const decipher = createDecipheriv(CIPHER, secret, nonce(index))
    decipher.setAuthTag(sealed.subarray(bytesRead - TAG, bytesRead))
    const plain = decipher.update(sealed.subarray(0, bytesRead - TAG))
    decipher.final()
    return plain
  }

  return {
    async write(chunk) {
      for (let at = 0; at < chunk.length; ) {
        const part = chunk.subarray(at, at + RECORD - filled)
        waiting.set(part, filled)
        filled += part.length
        at += part.length
        if (filled < RECORD) continue
        filled = 0
        await flush(waiting)
      }
    },
    async finish() {
      if (filled > 0) await flush(waiting.subarray(0, filled))
      filled = 0
      giveBack(waiting)
    },
    async *read(from, to) {
      const sealed = Buffer.allocUnsafeSlow(RECORD + TAG)
      try {
        for (let at = from; at < to; ) {
          const start = at % RECORD
          const record = await readRecord((at - start) / RECORD, sealed)
          const part = record.subarray(start, start + to - at)
          if (part.length === 0) throw new Error('the scratch file is shorter than what was written')
          at += part.length
          yield part
          giveBack(record)
        }
      } finally {
        giveBack(sealed)
      }
    },
    async close() {
      if (closed) return
      closed = true
      await file.close()
    },
  }
}

function nonce(index: number): Uint8Array {
  const octets = Buffer.alloc(12)
  octets.writeUInt32BE(index, 8)
  return octets
}
