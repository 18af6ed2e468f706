import { CompactEncrypt, compactDecrypt, exportJWK, generateKeyPair, importJWK } from 'jose'
import t from 'tap'
import { concatKdf, encryptFor, parsePageKey, partyOf } from '../../keyserver/jwe.ts'
import { parseEnvelopeId } from '../../protocol/identifiers.ts'
import { createAgreementKey, openJwe } from '../../reader/jwe.ts'

const envelope = parseEnvelopeId('AAAAAAAAAAAAAAAAAAAAAA')
if (envelope === null) throw new Error('not an id')
const plaintext = Buffer.from('{"dataKey":"AA"}')

function pointOf(jwk: { x?: string; y?: string }) {
  const page = parsePageKey({ x: jwk.x ?? '', y: jwk.y ?? '' })
  if (page === null) throw new Error('not a key')
  return page
}

t.test('RFC 7518 appendix C: Concat KDF gives the derived key of the example', async (t) => {
  const secret = Uint8Array.from([
    158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106, 72,
    246, 218, 167, 121, 140, 254, 144, 196,
  ])
  const key = concatKdf(secret, 'A128GCM', Buffer.from('Alice'), Buffer.from('Bob'), 128)
  t.equal(key.toString('base64url'), 'VqqN6vgjbSBcIijNcacQGg')
})

t.test('jose opens what the server makes, and finds exactly the header of the contract', async (t) => {
  const pair = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
  const apv = partyOf(envelope, 'proof')
  const jwe = encryptFor(pointOf(await exportJWK(pair.publicKey)), apv, plaintext)
  const opened = await compactDecrypt(jwe, pair.privateKey, {
    keyManagementAlgorithms: ['ECDH-ES'],
    contentEncryptionAlgorithms: ['A256GCM'],
  })
  t.same(Buffer.from(opened.plaintext), plaintext)
  t.same(Object.keys(opened.protectedHeader), ['alg', 'enc', 'epk', 'apv'])
  t.equal(opened.protectedHeader.apv, Buffer.from(apv).toString('base64url'))
})

t.test('the page opens what the server makes, and what jose makes', async (t) => {
  const key = await createAgreementKey()
  const bound = { envelope, proof: 'proof' }
  const apv = partyOf(envelope, 'proof')
  t.same(await openJwe(encryptFor(pointOf(key.publicKey), apv, plaintext), key, bound), { dataKey: 'AA' })
  const byJose = await new CompactEncrypt(plaintext)
    .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
    .setKeyManagementParameters({ apv })
    .encrypt(await importJWK({ ...key.publicKey }, 'ECDH-ES'))
  t.same(await openJwe(byJose, key, bound), { dataKey: 'AA' })
})

t.test('the page refuses another envelope, another proof, another key and every altered character', async (t) => {
  const key = await createAgreementKey()
  const bound = { envelope, proof: 'proof' }
  const jwe = encryptFor(pointOf(key.publicKey), partyOf(envelope, 'proof'), plaintext)
  t.equal(await openJwe(jwe, key, { ...bound, proof: 'other' }), null)
  t.equal(await openJwe(jwe, key, { ...bound, envelope: 'AAAAAAAAAAAAAAAAAAAAAQ' }), null)
  t.equal(await openJwe(jwe, await createAgreementKey(), bound), null)
  t.equal(await openJwe(`${jwe}.x`, key, bound), null)
  t.equal(await openJwe(jwe.slice(0, -4), key, bound), null)
  for (let i = 0; i < jwe.length; i += 7) {
    const flipped = `${jwe.slice(0, i)}${jwe[i] === 'A' ? 'Q' : 'A'}${jwe.slice(i + 1)}`
    t.equal(await openJwe(flipped, key, bound), null, `character ${i}`)
  }
})

t.test('a page key must be canonical and on the curve', async (t) => {
  const { publicKey } = await createAgreementKey()
  t.ok(parsePageKey(publicKey))
  t.equal(parsePageKey({ x: publicKey.x, y: publicKey.x }), null)
  t.equal(parsePageKey({ x: publicKey.x, y: `${publicKey.y}=` }), null)
  t.equal(parsePageKey({ x: publicKey.x, y: '' }), null)
  const zero = Buffer.alloc(32).toString('base64url')
  t.equal(parsePageKey({ x: zero, y: zero }), null, 'the point at infinity has no such form')
})

t.test('every JWE has a key and an iv of its own', async (t) => {
  const { publicKey } = await createAgreementKey()
  const made = () => encryptFor(pointOf(publicKey), partyOf(envelope, 'proof'), plaintext).split('.')
  const [one, two] = [made(), made()]
  t.not(one[0], two[0])
  t.not(one[2], two[2])
})
