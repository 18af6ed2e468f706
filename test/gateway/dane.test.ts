import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:tls'
import t, { type Test } from 'tap'
import { daneFault, usableTlsa } from '../../gateway/dane.ts'
import { makeAuthority, makeClient } from './client-certificates.ts'

const now = new Date()
const root = await makeAuthority('root')
const middle = await makeAuthority('middle', root)
const host = [{ type: 'dns', value: 'mx.example.org' }] as const
const good = await makeClient(middle, 'mx.example.org', [...host], 1, 'serverAuth')
const old = await makeClient(middle, 'mx.example.org', [...host], -1, 'serverAuth')
const stranger = await makeClient(await makeAuthority('other'), 'mx.example.org', [...host], 1, 'serverAuth')

/** The certificate as a server shows it in TLS, with the chain behind it. */
async function shown(t: Test, pair: { readonly cert: string; readonly key: string }, chain = '') {
  const server = createServer({ cert: pair.cert + chain, key: pair.key }, (socket) =>
    socket.on('error', () => undefined),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect({ port: (server.address() as AddressInfo).port, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const certificate = socket.getPeerX509Certificate()
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  if (certificate === undefined) throw new Error('no certificate was shown')
  return certificate
}

function tlsa(usage: number, selector: number, matchingType: number, pem: string) {
  const certificate = new X509Certificate(pem)
  const whole = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: 'spki', format: 'der' })
  const hash = [null, 'sha256', 'sha512'][matchingType]
  return { usage, selector, matchingType, data: hash ? createHash(hash).update(whole).digest() : whole }
}

const names = ['mx.example.org', 'example.org']

t.test('a record for the certificate itself matches, whatever its name, dates and issuer', async (t) => {
  const chain = middle.pem
  for (const pair of [good, old, stranger]) {
    const leaf = await shown(t, pair, pair === stranger ? '' : chain)
    for (const selector of [0, 1]) {
      for (const matching of [0, 1, 2]) {
        t.equal(daneFault(leaf, [tlsa(3, selector, matching, pair.cert)], ['elsewhere.example'], now), null)
      }
    }
  }
  const leaf = await shown(t, good, chain)
  t.match(daneFault(leaf, [tlsa(3, 1, 1, stranger.cert)], names, now), /no TLSA record is for its certificate/)
})

t.test('a record for an authority matches where the chain leads to it, in time and for the name', async (t) => {
  const leaf = await shown(t, good, middle.pem + root.pem)
  for (const pem of [middle.pem, root.pem]) t.equal(daneFault(leaf, [tlsa(2, 0, 1, pem)], names, now), null)
  t.match(daneFault(leaf, [tlsa(2, 0, 1, root.pem)], ['mx.example.net'], now), /is not for mx\.example\.net/)
  t.equal(daneFault(leaf, [tlsa(2, 0, 1, root.pem)], ['x.example', 'mx.example.org'], now), null, 'one of the names')
  t.match(daneFault(await shown(t, old, middle.pem), [tlsa(2, 0, 1, middle.pem)], names, now), /no TLSA record/)
  const late = new Date(now.getTime() + 9 * 86_400_000)
  t.match(daneFault(leaf, [tlsa(2, 0, 1, root.pem)], names, late), /no TLSA record/)
})

t.test('an authority that is shown beside the certificate, but did not issue it, proves nothing', async (t) => {
  const leaf = await shown(t, stranger, middle.pem + root.pem)
  t.match(daneFault(leaf, [tlsa(2, 0, 1, root.pem), tlsa(2, 1, 1, middle.pem)], names, now), /no TLSA record/)
  const itself = await shown(t, stranger)
  t.match(
    daneFault(itself, [tlsa(2, 0, 1, stranger.cert)], names, now),
    /no TLSA record/,
    'nor is it its own authority',
  )
})

t.test('records that are not for SMTP, or cannot be read, count as none', (t) => {
  const fine = [tlsa(3, 1, 1, good.cert), tlsa(2, 0, 2, root.pem), tlsa(3, 0, 0, good.cert)]
  t.same(usableTlsa(fine), fine)
  const odd = [
    tlsa(0, 0, 1, good.cert),
    tlsa(1, 0, 1, good.cert),
    tlsa(9, 0, 1, good.cert),
    { ...tlsa(3, 1, 1, good.cert), selector: 2 },
    { ...tlsa(3, 1, 1, good.cert), matchingType: 3 },
    { ...tlsa(3, 1, 1, good.cert), data: Buffer.alloc(31) },
    { ...tlsa(3, 1, 0, good.cert), data: Buffer.alloc(0) },
  ]
  t.same(usableTlsa(odd), [])
  t.end()
})
