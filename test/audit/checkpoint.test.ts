import { generateKeyPairSync, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  parseNote,
  parseVerifierKey,
  signCheckpoint,
  signerKey,
  verifierKey,
  verifyNote,
} from '../../audit/checkpoint.ts'

/** The example key and note of C2SP signed-note's reference implementation (golang.org/x/mod/sumdb/note). */
const PETER = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'

const secret = Buffer.alloc(32, 7)
const key = signerKey('mail.acme.example/log/acme.example', secret)
const checkpoint = { origin: 'mail.acme.example/log/acme.example', size: 5, root: Buffer.alloc(32, 1) }
const note = signCheckpoint(checkpoint, key)

const verifies = (text: string, trusted = [key]): boolean => {
  const parsed = parseNote(text)
  return parsed !== null && verifyNote(parsed, trusted)
}

t.test('a verifier key of another implementation is read and written the same', async (t) => {
  const peter = parseVerifierKey(PETER)
  t.equal(peter?.name, 'PeterNeumann')
  t.equal(peter === null ? '' : verifierKey(peter), PETER)
})

t.test('a verifier key with another name, id or key is refused', async (t) => {
  t.equal(parseVerifierKey(PETER.replace('Peter', 'Pater')), null)
  t.equal(parseVerifierKey(PETER.replace('c74f', 'c74e')), null)
  t.equal(parseVerifierKey(PETER.replace('ARpc', 'ARpd')), null)
  t.equal(parseVerifierKey('name+00000000'), null)
  t.equal(parseVerifierKey(''), null)
})

t.test('a checkpoint is a signed note: origin, size, root, an empty line, the signature', async (t) => {
  const [origin, size, root, empty, signature, end] = note.split('\n')
  t.same([origin, size, empty, end], [checkpoint.origin, '5', '', ''])
  t.equal(root, checkpoint.root.toString('base64'))
  t.match(signature, /^\u2014 mail\.acme\.example\/log\/acme\.example [A-Za-z0-9+/]+=*$/)
  t.ok(verifies(note))
  t.equal(signCheckpoint(checkpoint, key), note, 'Ed25519 signs alike each time')
})

t.test('a note whose octets were changed anywhere does not verify', async () => {
  const octets = Buffer.from(note, 'utf8')
  fc.assert(
    fc.property(fc.nat(octets.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const altered = Buffer.from(octets)
      altered.writeUInt8(altered.readUInt8(at) ^ mask, at)
      return !verifies(altered.toString('utf8'))
    }),
  )
})

t.test('a note by another key, another name or for another log does not verify', async (t) => {
  t.notOk(verifies(note, [signerKey(checkpoint.origin, randomBytes(32))]))
  t.notOk(verifies(note, [signerKey('mail.acme.example/log/other.example', secret)]))
  t.notOk(verifies(signCheckpoint({ ...checkpoint, origin: 'elsewhere/log/acme.example' }, key)))
})

t.test('signatures of witnesses beside the log’s own are let be', async (t) => {
  const witness = signCheckpoint(checkpoint, signerKey('witness.example', randomBytes(32)))
    .split('\n')
    .at(-2)
  t.ok(verifies(`${note}${witness}\n`))
})

t.test('what is not a checkpoint is refused', async (t) => {
  for (const text of [
    '',
    '\n\n',
    'a\nb\nc\n\n',
    note.replace('\n5\n', '\n05\n'),
    note.replace('\n5\n', '\n-5\n'),
    note.trimEnd(),
  ]) {
    t.equal(parseNote(text), null, JSON.stringify(text.slice(0, 40)))
  }
})

t.test('a signing key comes from PEM or from its 32 octets', async (t) => {
  const pem = key.privateKey.export({ format: 'pem', type: 'pkcs8' })
  t.equal(verifierKey(signerKey(checkpoint.origin, String(pem))), verifierKey(key))
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.throws(() => signerKey('a', String(privateKey.export({ format: 'pem', type: 'pkcs8' }))), /Ed25519/)
  t.throws(() => signerKey('a name', secret), /no space/)
})
