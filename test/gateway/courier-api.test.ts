import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { letter } from './courier-contract.ts'
import { startGraphServer } from './graph-server.ts'
import { openOffice } from './office.ts'
import { startScriptedHop } from './scripted-hop.ts'

const anna = 'anna@acme.example'

/** The mail as a client hands it in. */
function clear(...to: readonly string[]): string {
  return letter(to, { body: 'the plain words\r\n' }).replace(/Sealpost-Handled: .*\r\n/, '')
}

/** A whole house whose organization sends by Microsoft Graph, and by SMTP what cannot go that way. */
async function open(t: Test) {
  const [server, hop] = await Promise.all([startGraphServer(), startScriptedHop()])
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-api-'))
  t.teardown(async () => {
    rmSync(folder, { recursive: true })
    await Promise.all([server.close(), hop.close()])
  })
  const file = join(folder, 'client-secret')
  writeFileSync(file, 'very secret\n', { mode: 0o600 })
  const api = {
    ...{ provider: 'graph', tenant: 'directory-1', clientId: 'app-1', clientSecret: { file } },
    ...{ endpoint: server.origin, authority: server.origin },
  }
  const nextHop = { host: '127.0.0.1', port: hop.port }
  const gateway = { organizations: { 'acme.example': { name: 'Acme', nextHop, api } }, spool: { retrySeconds: 1 } }
  return { server, hop, office: await openOffice(t, {}, { gateway }) }
}

t.test('a message is sealed and sent by Graph to exactly its recipients', async (t) => {
  const { server, hop, office } = await open(t)
  t.match(
    await office.send(anna, ['bo@example.org', 'cy@example.net'], clear('bo@example.org')),
    /^250 .*Microsoft Graph/,
  )
  t.equal(server.sent().length, 1)
  const mime = server.sent()[0]?.mime.toString() ?? ''
  t.match(mime, /^Bcc: cy@example\.net\r\nReceived: /)
  t.match(mime, /protected-message\.sealpost/)
  t.notMatch(mime, /the plain words/)
  t.same(hop.contents, [])
  t.notMatch(office.log(), /very secret/)
})

t.test('what Graph cannot address goes by the next hop', async (t) => {
  const { server, hop, office } = await open(t)
  t.match(await office.send(anna, ['bo@example.org'], clear('bo@example.org', 'cy@example.net')), /^250 /)
  t.match(await office.send('', ['bo@example.org'], clear('bo@example.org')), /^250 /)
  t.equal(hop.contents.length, 2)
  t.same(server.messages, [])
  t.match(
    office.log(),
    /"reason":"the header names somebody who is not a recipient.*goes by SMTP, not by the provider's API/,
  )
  t.match(office.log(), /"reason":"MAIL FROM is no mailbox".*goes by SMTP, not by the provider's API/)
  t.notMatch(office.log(), /example\.org|the plain words/, 'and nobody is named')
  t.match(await (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text(), /_ways_total\{way="smtp"\} 2\n/)
})

t.test('a mail whose fate Graph does not tell is found later, and not sent twice', async (t) => {
  const { server, hop, office } = await open(t)
  server.trick(/send$/, 'lose')
  server.trick(/^GET [^?]*\/messages\/./, ...Array.from({ length: 30 }, () => 'drop' as const))
  t.match(await office.send(anna, ['bo@example.org'], clear('bo@example.org')), /^250 /, 'kept in the spool')
  const looked = () => server.asked.filter((line) => line.includes('internetMessageId')).length
  for (let tries = 0; looked() === 0 && tries < 100; tries++) await sleep(50)
  t.equal(looked(), 1)
  await sleep(300)
  t.equal(server.sent().length, 1)
  t.same(hop.contents, [])
})
