import { createHash } from 'node:crypto'
import { CompactEncrypt, importJWK } from 'jose'
import t from 'tap'
import { type AgreementKey, createAgreementKey, openJwe } from '../../reader/jwe.ts'

const bound = { envelope: 'AAAAAAAAAAAAAAAAAAAAAA', proof: 'a.b.c' }
const party = (text: string) => new Uint8Array(createHash('sha256').update(text).digest())
const ours = party(`${bound.envelope}.${bound.proof}`)

/** A JWE by jose, as an independent hand would make it. */
async function encrypt(key: AgreementKey, { alg = 'ECDH-ES', enc = 'A256GCM', apv = ours, text = '{"a":1}' } = {}) {
  const recipient = await importJWK({ ...key.publicKey }, alg)
  return new CompactEncrypt(new TextEncoder().encode(text))
    .setProtectedHeader({ alg, enc })
    .setKeyManagementParameters({ apv })
    .encrypt(recipient)
}

t.test('what jose encrypts for the page opens', async (t) => {
  const key = await createAgreementKey()
  t.same(await openJwe(await encrypt(key), key, bound), { a: 1 })
})

t.test('only ECDH-ES with A256GCM is taken', async (t) => {
  const key = await createAgreementKey()
  t.equal(await openJwe(await encrypt(key, { enc: 'A128GCM' }), key, bound), null)
  t.equal(await openJwe(await encrypt(key, { alg: 'ECDH-ES+A256KW' }), key, bound), null)
})

t.test('an answer to another envelope or another request does not open', async (t) => {
  const key = await createAgreementKey()
  const jwe = await encrypt(key)
  t.equal(await openJwe(jwe, key, { ...bound, envelope: 'BBBBBBBBBBBBBBBBBBBBBA' }), null)
  t.equal(await openJwe(jwe, key, { ...bound, proof: 'a.b.d' }), null)
  t.equal(await openJwe(await encrypt(key, { apv: party('other') }), key, bound), null)
})

t.test('for another key, altered, or not JSON, it does not open', async (t) => {
  const key = await createAgreementKey()
  const jwe = await encrypt(key)
  t.equal(await openJwe(jwe, await createAgreementKey(), bound), null)
  t.equal(await openJwe(await encrypt(key, { text: 'no json' }), key, bound), null)
  t.equal(await openJwe('', key, bound), null)
  t.equal(await openJwe('a.b.c', key, bound), null)
  t.equal(await openJwe(`${jwe}.x`, key, bound), null)
  const parts = jwe.split('.')
  for (const [i, part] of parts.entries()) {
    const altered = part === '' ? 'AA' : (part.startsWith('A') ? 'B' : 'A') + part.slice(1)
    t.equal(await openJwe(parts.with(i, altered).join('.'), key, bound), null, `part ${i}`)
  }
})

t.test('the key of an agreement cannot be taken out of the page', async (t) => {
  const { privateKey } = await createAgreementKey()
  t.equal(privateKey.extractable, false)
})
