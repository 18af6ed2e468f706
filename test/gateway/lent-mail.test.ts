import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer as createClearServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import t, { type Test } from 'tap'
import { base64Size, base64Stream } from '../../gateway/base64-lines.ts'
import type { OutgoingMail } from '../../gateway/courier.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { createRoom } from '../../gateway/room.ts'
import { createSealing, type SealedCopy } from '../../gateway/sealing.ts'
import { makeCertificate } from './certificate.ts'
import { acme, envelopeId } from './sealed-mail.ts'

t.setTimeout(60_000)

const hop = await makeCertificate('hop.example')
const SIZE = 6_000_000
const plaintext = randomBytes(SIZE)
const plain = {
  plainSize: SIZE,
  async *plaintext() {
    for (let at = 0; at < SIZE; at += 70_001) yield plaintext.subarray(at, at + 70_001)
  },
}
const key = {
  ...{ org: acme, id: envelopeId, dataKey: randomBytes(32), wrappedKey: randomBytes(60) },
  termsHash: randomBytes(32).toString('base64url'),
}

function mailOf(copy: SealedCopy): OutgoingMail {
  return {
    ...{ size: base64Size(copy.sealedSize), smtputf8: false, eightBit: false },
    open: (reading = 'kept') => base64Stream(copy.chunks(), copy.sealedSize, reading),
  }
}

async function digestOf(mail: OutgoingMail): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of mail.open()) pieces.push(piece)
  return createHash('sha256').update(Buffer.concat(pieces)).digest('hex')
}

/** A next hop that reads in its own time; `met` gets the digest of each content, `cutAt` is where it hangs up. */
async function startSlow(t: Test, secure: boolean, met: string[], cutAt = Number.POSITIVE_INFINITY): Promise<number> {
  const serve = (socket: Socket) => {
    socket.on('error', () => socket.destroy())
    socket.write('220 hop.example ESMTP\r\n')
    let content: Buffer[] | null = null
    let size = 0
    socket.on('data', (octets) => {
      if (content === null) {
        const said = octets.toString('latin1')
        if (said.startsWith('DATA')) content = []
        socket.write(content === null ? '250 2.1.0 ok\r\n' : '354 go on\r\n')
        return
      }
      content.push(octets)
      size += octets.length
      if (size > cutAt) {
        socket.destroy()
        return
      }
      if (octets.subarray(-5).toString('latin1') === '\r\n.\r\n') {
        const whole = Buffer.concat(content)
        met.push(createHash('sha256').update(whole.subarray(0, -3)).digest('hex'))
        content = null
        socket.write('250 2.0.0 queued\r\n')
        return
      }
      socket.pause()
      setTimeout(() => socket.resume(), 1)
    })
  }
  const server: Server = secure ? createTlsServer({ key: hop.key, cert: hop.cert }, serve) : createClearServer(serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

function courierTo(t: Test, port: number, secure: boolean) {
  const tls = secure ? ({ mode: 'verify', name: 'hop.example', ca: [hop.ca] } as const) : ({ mode: 'none' } as const)
  const courier = createSmtpCourier({ host: '127.0.0.1', port, helo: 'gw.acme.example', tls, implicitTls: secure })
  t.teardown(() => courier.close())
  return courier
}

const to = { sender: 'anna@acme.example', recipients: ['bo@example.org'] }

for (const [where, room] of [
  ['in a file', 0],
  ['in memory as well', 100_000_000],
] as const) {
  for (const secure of [false, true]) {
    const how = `${where}, ${secure ? 'over TLS' : 'in clear'}`
    t.test(`what a slow next hop gets of copies that lie ${how} is what they hold, octet for octet`, async (t) => {
      const sealing = await createSealing({ folder: t.testdir(), room: createRoom(room) })
      const copies = await Promise.all([1, 2, 3].map(() => sealing.seal(plain, key)))
      const digests = await Promise.all(copies.map((copy) => digestOf(mailOf(copy))))
      const met: string[] = []
      const courier = courierTo(t, await startSlow(t, secure, met), secure)
      const reports = await Promise.all(copies.map((copy) => courier.deliver({ ...to, mail: mailOf(copy) })))
      t.same(
        reports.map(({ results }) => results[0]?.outcome),
        ['sent', 'sent', 'sent'],
      )
      t.same(met.toSorted(), digests.toSorted())
      for (const copy of copies) await copy.dispose()
    })

    t.test(`a next hop that hangs up in the middle harms nobody else: copies ${how}`, async (t) => {
      const sealing = await createSealing({ folder: t.testdir(), room: createRoom(room) })
      const [lost, kept] = [await sealing.seal(plain, key), await sealing.seal(plain, key)]
      const met: string[] = []
      const cut = courierTo(t, await startSlow(t, secure, met, 2_000_000), secure)
      const good = courierTo(t, await startSlow(t, secure, met), secure)
      const delivered = good.deliver({ ...to, mail: mailOf(kept) })
      const { results } = await cut.deliver({ ...to, mail: mailOf(lost) })
      await lost.dispose()
      t.equal(results[0]?.outcome, 'deferred')
      t.equal((await delivered).results[0]?.outcome, 'sent')
      t.same(met, [await digestOf(mailOf(kept))])
      await kept.dispose()
    })
  }
}
