import t from 'tap'
import { hashPassword, isPasswordHash, verifyPassword } from '../../protocol/password.ts'

t.test('a password is known again by its hash, and no other is', async (t) => {
  const hash = await hashPassword('correct horse battery')
  t.match(hash, /^\$scrypt\$ln=15,r=8,p=1\$/)
  t.ok(isPasswordHash(hash))
  t.ok(await verifyPassword('correct horse battery', hash))
  t.notOk(await verifyPassword('correct horse batterz', hash))
  t.notOk(await verifyPassword('', hash))
})

t.test('the same password gets another hash each time', async (t) => {
  t.not(await hashPassword('correct horse battery'), await hashPassword('correct horse battery'))
})

t.test('a hash that another scrypt (RFC 7914) made is known, at another cost', async (t) => {
  const { scryptSync } = await import('node:crypto')
  const salt = Buffer.from('SodiumChlorideXX')
  const hash = scryptSync('pleaseletmein', salt, 32, { N: 16384, r: 8, p: 1, maxmem: 64 * 2 ** 20 })
  const phc = `$scrypt$ln=14,r=8,p=1$${salt.toString('base64').replace(/=/g, '')}$${hash.toString('base64').replace(/=/g, '')}`
  t.ok(await verifyPassword('pleaseletmein', phc))
})

t.test('a composed and a decomposed letter are the same password', async (t) => {
  t.ok(await verifyPassword('caf\u0065\u0301 au lait', await hashPassword('caf\u00e9 au lait')))
})

for (const [what, phc] of [
  ['plain text', 'secret'],
  ['a cheap cost', `$scrypt$ln=10,r=8,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`],
  ['a cost that would eat the memory', `$scrypt$ln=20,r=8,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`],
  ['a short hash', `$scrypt$ln=15,r=8,p=1$${'A'.repeat(22)}$${'A'.repeat(20)}`],
] as const) {
  t.test(`${what} in the place of a hash lets nobody in`, async (t) => {
    t.notOk(isPasswordHash(phc))
    t.notOk(await verifyPassword('secret', phc))
  })
}
