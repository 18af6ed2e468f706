import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import t from 'tap'
import { type ProofExpectation, thumbprintOf, verifyProof } from '../../keyserver/dpop.ts'
import { createNonces } from '../../keyserver/nonce.ts'
import { createProof, createProofKey } from '../../reader/dpop.ts'

const sha256 = (octets: Uint8Array | string) => createHash('sha256').update(octets).digest('base64url')
const body = Buffer.from('{"envelope":"AAAAAAAAAAAAAAAAAAAAAA"}')
const expected: ProofExpectation = { htm: 'POST', htu: 'https://open.acme.example/v1/release', body, token: 'token' }

type Changes = {
  readonly claims?: Record<string, unknown>
  readonly header?: Record<string, unknown>
}

async function makeKey() {
  const pair = await generateKeyPair('ES256')
  const { x = '', y = '' } = await exportJWK(pair.publicKey)
  return { privateKey: pair.privateKey, jwk: { kty: 'EC', crv: 'P-256', x, y } as const }
}

async function makeProof(key: Awaited<ReturnType<typeof makeKey>>, nonce: string, { claims, header }: Changes = {}) {
  const usual = { jti: 'one', iat: 1, htm: 'POST', htu: expected.htu, nonce, bsh: sha256(body), ath: sha256('token') }
  return new SignJWT({ ...usual, ...claims })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk, ...header })
    .sign(key.privateKey)
}

function outcome(proof: string | string[] | undefined, nonces = createNonces(), asked = expected) {
  const verdict = verifyProof(proof, asked, nonces)
  return verdict.kind === 'proven' ? verdict.kind : `${verdict.code}: ${verdict.because}`
}

t.test('a proof that jose made is proven, and its thumbprint is the one that jose computes', async (t) => {
  const nonces = createNonces()
  const key = await makeKey()
  const verdict = verifyProof(await makeProof(key, nonces.current()), expected, nonces)
  t.same(verdict, { kind: 'proven', thumbprint: await calculateJwkThumbprint(key.jwk) })
})

t.test("a proof that the page's own code made is proven", async (t) => {
  const nonces = createNonces()
  const key = await createProofKey()
  const request = { url: expected.htu, nonce: nonces.current(), body: new Uint8Array(body), token: 'token' }
  t.equal(outcome(await createProof(key, request), nonces), 'proven')
  t.equal(outcome(await createProof(key, request), nonces), 'proven', 'each proof has an id of its own')
  const asked = { ...expected, token: null }
  t.equal(outcome(await createProof(key, { ...request, token: null }), nonces, asked), 'proven')
  t.match(outcome(await createProof(key, { ...request, nonce: null }), nonces), /^use-dpop-nonce/)
})

t.test('RFC 7638 section 3.1 as RFC 9449 section 6.1 shows it: the thumbprint of a known key', async (t) => {
  const jwk = {
    x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
    y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
  }
  t.equal(thumbprintOf(jwk), '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')
})

t.test('whatever does not fit is refused, with the reason and no signature work before the nonce', async (t) => {
  const key = await makeKey()
  const cases: readonly (readonly [string, Changes, RegExp])[] = [
    ['another method', { claims: { htm: 'GET' } }, /htm/],
    ['another address', { claims: { htu: 'https://open.acme.example/v1/revoke' } }, /htu/],
    ['another body', { claims: { bsh: sha256('{}') } }, /bsh/],
    ['no body hash', { claims: { bsh: undefined } }, /bsh/],
    ['another token', { claims: { ath: sha256('other') } }, /ath/],
    ['no token hash', { claims: { ath: undefined } }, /ath/],
    ['no id', { claims: { jti: undefined } }, /jti/],
    ['an endless id', { claims: { jti: 'x'.repeat(129) } }, /jti/],
    ['no iat', { claims: { iat: undefined } }, /iat/],
    ['another type', { header: { typ: 'JWT' } }, /typ/],
    ['a private key in the header', { header: { jwk: { ...key.jwk, d: 'AA' } } }, /public P-256/],
    ['a key of another curve', { header: { jwk: { ...key.jwk, crv: 'P-384' } } }, /public P-256/],
    ['a short coordinate', { header: { jwk: { ...key.jwk, x: 'AAAA' } } }, /public P-256/],
    ['a stale nonce', { claims: { nonce: 'old' } }, /^use-dpop-nonce/],
    ['no nonce', { claims: { nonce: undefined } }, /^use-dpop-nonce/],
  ]
  for (const [name, changes, reason] of cases) {
    const nonces = createNonces()
    t.match(outcome(await makeProof(key, nonces.current(), changes), nonces), reason, name)
  }
})

t.test('a point that is not on the curve is refused', async (t) => {
  const nonces = createNonces()
  const key = await makeKey()
  const off = { ...key.jwk, y: Buffer.alloc(32, 7).toString('base64url') }
  t.match(outcome(await makeProof(key, nonces.current(), { header: { jwk: off } }), nonces), /not a point of P-256/)
})

t.test('a proof signed by another key than the one it shows is refused, and is not remembered', async (t) => {
  const nonces = createNonces()
  const [shown, other] = [await makeKey(), await makeKey()]
  const forged = await makeProof(other, nonces.current(), { header: { jwk: shown.jwk } })
  t.match(outcome(forged, nonces), /signature/)
  t.equal(outcome(await makeProof(shown, nonces.current()), nonces), 'proven', 'the id is still free')
})

t.test('other encodings of the header are refused before anything is decided', async (t) => {
  const nonces = createNonces()
  const key = await makeKey()
  const proof = await makeProof(key, nonces.current())
  const [head = '', payload = '', signature = ''] = proof.split('.')
  const none = Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: 'none', jwk: key.jwk })).toString('base64url')
  const cases: readonly (string | string[] | undefined)[] = [
    undefined,
    [proof, proof],
    `${proof}, ${proof}`,
    `${proof}=`,
    ` ${proof}`,
    `${head}.${payload}`,
    `${head}.${payload}.`,
    `${none}.${payload}.`,
    `${none}.${payload}.${signature}`,
    `${head}.W10.${signature}`,
    `${head}.bnVsbA.${signature}`,
    'x'.repeat(5000),
    '..',
  ]
  for (const sent of cases) t.match(outcome(sent, nonces), /^bad-proof/)
})

t.test('a proof is good once: the twin signature of ECDSA is a replay too', async (t) => {
  const nonces = createNonces()
  const key = await makeKey()
  const proof = await makeProof(key, nonces.current())
  t.equal(outcome(proof, nonces), 'proven')
  t.match(outcome(proof, nonces), /^replayed-proof/)
  const [head, payload, tail = ''] = proof.split('.')
  const signature = Buffer.from(tail, 'base64url')
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  const s = order - BigInt(`0x${signature.subarray(32).toString('hex')}`)
  const twin = Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')])
  t.match(outcome(`${head}.${payload}.${twin.toString('base64url')}`, nonces), /^replayed-proof/)
})

t.test('two browsers may use the same proof id', async (t) => {
  const nonces = createNonces()
  t.equal(outcome(await makeProof(await makeKey(), nonces.current()), nonces), 'proven')
  t.equal(outcome(await makeProof(await makeKey(), nonces.current()), nonces), 'proven')
})

t.test('a nonce is good in its slot and the next, and a replay is known that long', async (t) => {
  let now = 0
  const nonces = createNonces(() => now)
  const nonce = nonces.current()
  t.ok(nonces.remember('key', 'a'))
  now = 149_999
  t.equal(nonces.current(), nonce)
  now = 150_000
  t.not(nonces.current(), nonce)
  t.ok(nonces.accepts(nonce))
  t.notOk(nonces.remember('key', 'a'))
  now = 300_000
  t.notOk(nonces.accepts(nonce))
  now = 10_000_000
  const late = nonces.current()
  now = 11_000_000
  t.notOk(nonces.accepts(late), 'after a long rest no old nonce is good')
})

t.test('the memory of proofs is bounded: when it is full, nonces go before their time', async (t) => {
  const nonces = createNonces(() => 0, 10)
  const first = nonces.current()
  for (let i = 0; i < 10; i++) t.ok(nonces.remember('key', `${i}`))
  t.ok(nonces.accepts(first))
  t.not(nonces.current(), first)
  for (let i = 10; i < 20; i++) t.ok(nonces.remember('key', `${i}`))
  t.notOk(nonces.accepts(first), 'what was forgotten cannot be replayed')
})

t.test('a nonce of an earlier process is not accepted: its memory of proofs is gone', async (t) => {
  t.notOk(createNonces(() => 0).accepts(createNonces(() => 0).current()))
})
