import { createCipheriv } from 'node:crypto'
import t from 'tap'
import { decryptChecked, deriveKeys } from '../../envelope/keys.ts'

const octets = (from: number) => Uint8Array.from({ length: 32 }, (_, i) => from + i)

t.test('HKDF-SHA512 gives the known commitment for a known data key and message id', async (t) => {
  const { commitment } = await deriveKeys(octets(0), octets(32))
  // Computed apart from this code, with HMAC-SHA512 by hand (RFC 5869) in Python.
  t.equal(Buffer.from(commitment).toString('hex'), '16bbdf5f77e52a6d45b8cad7f30e0bbf69b304b0d51de9d153b822934fd32d47')
})

t.test('HKDF-SHA512 gives the known key of the frames', async (t) => {
  const { frames } = await deriveKeys(octets(0), octets(32))
  const iv = new Uint8Array(12)
  const cipher = createCipheriv(
    'aes-256-gcm',
    Buffer.from('30f891fcd92a8abe67342e11f1cfacffa92994861fca7075fb36a21f9edbf6ae', 'hex'),
    iv,
  )
  cipher.setAAD(Buffer.from('data'))
  const sealed = Buffer.concat([cipher.update('a frame'), cipher.final(), cipher.getAuthTag()])
  const plain = await decryptChecked(frames, iv, new TextEncoder().encode('data'), new Uint8Array(sealed))
  t.equal(new TextDecoder().decode(plain), 'a frame')
})

t.test('the key of the frames cannot be taken out of the page', async (t) => {
  const { frames } = await deriveKeys(octets(0), octets(32))
  t.equal(frames.extractable, false)
})
