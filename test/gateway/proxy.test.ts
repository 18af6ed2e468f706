import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { createLimits } from '../../gateway/limits.ts'
import { readProxyHeader } from '../../gateway/proxy-protocol.ts'
import { openDialogue } from './dialogue.ts'
import { open, org, ranges } from './open-listener.ts'

const mail = 'From: anna@acme.example\r\nSubject: hello\r\n\r\nfirst line\r\n'
const balancer = { proxies: ranges('127.0.0.0/8') }
const rules = [{ kind: 'range', org, ranges: ranges('192.0.2.0/24', '2001:db8::/32') }] as const

/** A version 2 header. */
function binary(command: number, family: number, addresses: Buffer, tlvs = ''): Buffer {
  const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n\0\0\0\0', 'latin1')
  const rest = Buffer.concat([addresses, Buffer.from(tlvs, 'latin1')])
  head[12] = 0x20 | command
  head[13] = family
  head.writeUInt16BE(rest.length, 14)
  return Buffer.concat([head, rest])
}
const ipv4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 25])
const ipv6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000009', 'hex'),
  Buffer.alloc(16),
  Buffer.from([0, 80, 0, 25]),
])

t.test('a header is read in whatever pieces it comes', (t) => {
  const headers = [
    [Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 8080 25\r\n'), { kind: 'client', address: '192.0.2.7', port: 8080 }],
    [Buffer.from('PROXY TCP6 2001:DB8::9 ::1 80 25\r\n'), { kind: 'client', address: '2001:db8::9', port: 80 }],
    [Buffer.from('PROXY UNKNOWN ffff:f...f:ffff anything\r\n'), { kind: 'nobody' }],
    [binary(1, 0x11, ipv4), { kind: 'client', address: '192.0.2.7', port: 8080 }],
    [binary(1, 0x11, ipv4, '\x04\0\x03abc\xe0\0\x01x'), { kind: 'client', address: '192.0.2.7', port: 8080 }],
    [binary(1, 0x21, ipv6), { kind: 'client', address: '2001:db8::9', port: 80 }],
    [binary(0, 0x00, Buffer.alloc(0)), { kind: 'nobody' }],
    [binary(0, 0x11, ipv4), { kind: 'nobody' }],
    [binary(1, 0x31, Buffer.alloc(216)), { kind: 'nobody' }],
  ] as const
  for (const [octets, expected] of headers) {
    for (let length = 0; length < octets.length; length++) {
      if (readProxyHeader(octets.subarray(0, length)).kind !== 'more') t.fail(`decided after ${length} octets`)
    }
    const read = readProxyHeader(Buffer.concat([octets, Buffer.from('EHLO x\r\n')]))
    t.match(read, { ...expected, length: octets.length })
  }
  t.end()
})

t.test('whatever else begins a connection is refused', (t) => {
  const others = [
    ...['EHLO x\r\n', 'PROXY\r\n', 'PROXY TCP4 192.0.2.7\r\n', 'PROXY TCP4 192.0.2.777 10.0.0.1 1 2\r\n'],
    ...['PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n', 'PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n', 'proxy UNKNOWN\r\n'],
    ...[
      'PROXY TCP4 2001:db8::9 ::1 1 2\r\n',
      'PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n',
      `PROXY UNKNOWN${' '.repeat(110)}`,
    ],
    ...['PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n'],
  ]
  for (const text of others) t.equal(readProxyHeader(Buffer.from(text)).kind, 'refused', JSON.stringify(text))
  t.equal(readProxyHeader(binary(2, 0x11, ipv4)).kind, 'refused', 'an unknown command')
  t.equal(readProxyHeader(binary(1, 0x12, ipv4)).kind, 'refused', 'datagrams')
  t.equal(readProxyHeader(binary(1, 0x11, ipv4.subarray(4))).kind, 'refused', 'too short for its family')
  t.equal(readProxyHeader(binary(1, 0x11, ipv4, 'x'.repeat(5000)).subarray(0, 20)).kind, 'refused', 'too long')
  const old = binary(1, 0x11, ipv4)
  old[12] = 0x11
  t.equal(readProxyHeader(old).kind, 'refused', 'an unknown version')
  t.end()
})

for (const [version, header] of [
  ['1', Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 8080 25\r\n')],
  ['2', binary(1, 0x21, ipv6, '\x04\0\x03abc')],
] as const) {
  t.test(`behind a balancer the client of a version ${version} header is the client`, async (t) => {
    const { port, taken } = await open(t, balancer, { rules })
    const client = await openDialogue(port)
    const text = header.toString('latin1')
    client.write(text.slice(0, 5))
    await sleep(20)
    client.write(text.slice(5))
    t.match(await client.reply(), /^220/)
    await client.upToData('anna@acme.example', 'b@example.org')
    client.write(`${mail}.\r\n`)
    t.match(await client.reply(), /^250/)
    t.match(taken[0]?.intake.received, version === '1' ? '[192.0.2.7]' : 'IPv6:2001:db8::9')
    client.destroy()
  })
}

t.test('TLS from the first octet comes behind the header', async (t) => {
  const now = new Date()
  const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['localhost'] }, now)
  const tls = { mode: 'implicit', certificate: pair.cert, key: pair.key } as const
  const { port } = await open(t, { ...balancer, tls }, { rules })
  const client = await openDialogue(port)
  client.write('PROXY TCP4 192.0.2.7 10.0.0.1 8080 25\r\n')
  await client.startTls()
  t.match(await client.reply(), /^220/)
  t.match(await client.say('EHLO client.example'), /^250/)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^250/)
  client.destroy()
})

t.test('where the balancer names nobody, its own address proves nothing', async (t) => {
  const all = [{ kind: 'range', org, ranges: ranges('127.0.0.0/8') }] as const
  const { port } = await open(t, balancer, { rules: all })
  for (const header of ['PROXY UNKNOWN\r\n', binary(0, 0, Buffer.alloc(0)).toString('latin1')]) {
    const client = await openDialogue(port)
    client.write(header)
    t.match(await client.reply(), /^220/)
    await client.say('EHLO client.example')
    t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^550 5\.7\.1 /)
    t.match(await client.say('QUIT'), /^221/)
    client.destroy()
  }
})

t.test('a balancer that says anything else is cut off', async (t) => {
  const { port, log, metrics } = await open(t, balancer, { rules })
  const client = await openDialogue(port)
  client.write('EHLO client.example\r\n')
  t.equal(await client.reply(), '')
  t.match(log(), 'balancer refused')
  t.match(metrics.render(), 'sealpost_gateway_refused_total{reason="proxy-header"} 1')
})

t.test('from anybody else a PROXY line is a syntax error', async (t) => {
  const { port } = await open(t, { proxies: ranges('192.0.2.0/24') })
  const client = await openDialogue(port)
  t.match(await client.reply(), /^220/)
  t.match(await client.say('PROXY TCP4 192.0.2.7 10.0.0.1 8080 25'), /^500 5\.5\.2 /)
  client.destroy()
})

t.test('limits count the client, not the balancer', async (t) => {
  const limits = createLimits({ listener: {}, network: { atOnce: 1 }, sender: {} })
  const { port } = await open(t, balancer, { rules, limits })
  const from = async (address: string) => {
    const client = await openDialogue(port)
    client.write(`PROXY TCP4 ${address} 10.0.0.1 8080 25\r\n`)
    return { client, banner: await client.reply() }
  }
  const first = await from('192.0.2.7')
  const second = await from('198.51.100.7')
  const third = await from('192.0.2.8')
  t.match([first.banner, second.banner, third.banner], [/^220/, /^220/, /^421 4\.7\.0/])
  for (const { client } of [first, second, third]) client.destroy()
})
