import { createHash } from 'node:crypto'
import { EmbeddedJWK, jwtVerify } from 'jose'
import t from 'tap'
import { createProof, createProofKey } from '../../reader/dpop.ts'

const sha256 = (octets: string | Uint8Array) => createHash('sha256').update(octets).digest('base64url')
const url = 'https://open.acme.example/v1/release'

t.test('jose verifies a proof, and it says what was asked', async (t) => {
  const key = await createProofKey()
  const body = new TextEncoder().encode('{"envelope":"x"}')
  const proof = await createProof(key, { url, body, nonce: 'n1', token: 'token-1' })
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] })
  t.match(payload, { htm: 'POST', htu: url, nonce: 'n1', bsh: sha256(body), ath: sha256('token-1') })
  t.match(payload.jti, /^[\w-]{22}$/)
  t.same(
    Object.keys(protectedHeader.jwk ?? {}).sort(),
    ['crv', 'kty', 'x', 'y'],
    'the public key, and nothing else of it',
  )
})

t.test('without nonce and token there are no such claims, and no two proofs are alike', async (t) => {
  const key = await createProofKey()
  const one = { url, body: new Uint8Array(), nonce: null, token: null }
  const [a, b] = await Promise.all([createProof(key, one), createProof(key, one)])
  const { payload } = await jwtVerify(a, EmbeddedJWK)
  t.same(Object.keys(payload).sort(), ['bsh', 'htm', 'htu', 'iat', 'jti'])
  t.not(a, b)
})

t.test('the key cannot be taken out of the browser', async (t) => {
  const { privateKey } = await createProofKey()
  t.equal(privateKey.extractable, false)
  await t.rejects(crypto.subtle.exportKey('pkcs8', privateKey))
})
