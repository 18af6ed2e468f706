import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createLimits, networkOf } from '../../gateway/limits.ts'
import { createTokenBuckets } from '../../gateway/token-buckets.ts'
import { openDialogue } from './dialogue.ts'
import { open } from './open-listener.ts'

const mail = 'From: anna@acme.example\r\nSubject: hello\r\n\r\nfirst line\r\n'
const none = { listener: {}, network: {}, sender: {} }

t.test('a bucket holds a minute and fills evenly', (t) => {
  let now = 0
  const buckets = createTokenBuckets({ perMinute: 60, capacity: 10, clock: () => now })
  t.ok(buckets.has('a', 60))
  buckets.take('a', 60)
  t.notOk(buckets.has('a', 1))
  now = 999
  t.notOk(buckets.has('a', 1))
  now = 1000
  t.ok(buckets.has('a', 1))
  t.notOk(buckets.has('a', 2))
  t.ok(buckets.has('b', 60), 'others have their own')
  buckets.take('b', 120)
  now = 61_000
  t.notOk(buckets.has('b', 1), 'what was used beyond it is owed')
  t.ok(buckets.has('a', 1_000_000), 'what no bucket can hold needs a full one')
  t.end()
})

t.test('the memory of many keys is bounded, and the oldest are forgotten', (t) => {
  const buckets = createTokenBuckets({ perMinute: 1, capacity: 1000, clock: () => 0 })
  for (let n = 0; n < 100_000; n++) buckets.take(`network ${n}`, 1)
  t.equal(buckets.size(), 1000)
  t.notOk(buckets.has('network 99999', 1))
  t.ok(buckets.has('network 0', 1))
  t.end()
})

t.test('a network is a /24, or a /64 with IPv6, however it is written', (t) => {
  t.equal(networkOf('192.0.2.7'), '192.0.2.0/24')
  t.equal(networkOf('::ffff:192.0.2.200'), '192.0.2.0/24')
  t.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64')
  t.equal(networkOf('2001:0db8:1:2::1'), '2001:db8:1:2::/64')
  t.equal(networkOf('::1'), '0:0:0:0::/64')
  t.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
  t.end()
})

t.test('rules change without forgetting what was used under a rate that stays', (t) => {
  const client = { listener: 'l', address: '192.0.2.1' }
  const limits = createLimits({ ...none, sender: { messages: 1 } }, () => 0)
  t.equal(limits.message(client, 'a@acme.example', null), null)
  limits.configure({ ...none, sender: { messages: 1 }, network: { messages: 100 } })
  t.equal(limits.message(client, 'a@acme.example', null), 'too-many-messages')
  t.equal(limits.message(client, null, null), null, 'nobody owns <>')
  limits.configure({ ...none, sender: { messages: 2 } })
  t.equal(limits.message(client, 'a@acme.example', null), null)
  t.end()
})

async function send(port: number, from: string, ...to: readonly string[]): Promise<string> {
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData(from, ...to)
  client.write(`${mail}.\r\n`)
  const reply = await client.reply()
  client.destroy()
  return reply
}

t.test('a sender who has sent enough is put off, and others are not', async (t) => {
  const limits = createLimits({ ...none, sender: { messages: 2, recipients: 3 } })
  const { port } = await open(t, {}, { limits })
  t.match(await send(port, 'anna@acme.example', 'b@example.org'), /^250/)
  t.match(await send(port, 'anna@acme.example', 'b@example.org'), /^250/)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^450 4\.7\.1 /)
  t.match(await client.say('MAIL FROM:<ben@acme.example>'), /^250 /)
  for (const name of ['a', 'b', 'c']) t.match(await client.say(`RCPT TO:<${name}@example.org>`), /^250 /)
  t.match(await client.say('RCPT TO:<d@example.org>'), /^452 4\.5\.3 /)
  client.write(`DATA\r\n${mail}.\r\n`)
  t.match(await client.reply(), /^354/)
  t.match(await client.reply(), /^250 /, 'those before it are served')
  client.destroy()
})

t.test('octets are counted as they were, and asked about at MAIL', async (t) => {
  const limits = createLimits({ ...none, network: { octets: 1000 } })
  const { port } = await open(t, {}, { limits })
  t.match(await send(port, 'anna@acme.example', 'b@example.org'), /^250/)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example> SIZE=999'), /^452 4\.3\.1 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example> SIZE=100'), /^250 /)
  client.destroy()
})

t.test('who is refused again and again is let go, and its network kept out for a while', async (t) => {
  const limits = createLimits({ ...none, network: { errors: 25 } })
  const { port } = await open(t, { errorLimit: 3 }, { limits })
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  for (let n = 0; n < 3; n++) t.match(await client.say('MAIL FROM:<boss@other.example>'), /^550 /)
  t.match(await client.say('MAIL FROM:<boss@other.example>'), /^421 4\.7\.0 /)
  t.equal(await client.reply(), '')
  for (let n = 0; n < 6; n++) {
    const next = await openDialogue(port)
    await next.reply()
    for (let i = 0; i < 4; i++) await next.say('WHAT')
    next.destroy()
  }
  const kept = await openDialogue(port)
  t.match(await kept.reply(), /^421 4\.7\.0 /)
  t.equal(await kept.reply(), '')
})

t.test('a taken message forgives the refusals before it', async (t) => {
  const { port } = await open(t, { errorLimit: 2 })
  const client = await openDialogue(port)
  await client.reply()
  for (let round = 0; round < 3; round++) {
    await client.say('EHLO client.example')
    t.match(await client.say('WHAT'), /^500/)
    t.match(await client.say('WHAT'), /^500/)
    await client.upToData('anna@acme.example', 'b@example.org')
    client.write(`${mail}.\r\n`)
    t.match(await client.reply(), /^250/)
  }
  client.destroy()
})

t.test('commands that lead nowhere end, and a slow typist is let go', async (t) => {
  const { port } = await open(t, { idleTimeoutMs: 300 })
  const busy = await openDialogue(port)
  await busy.reply()
  busy.write('NOOP\r\n'.repeat(201))
  let last = ''
  for (let n = 0; n < 201; n++) last = await busy.reply()
  t.match(last, /^421 4\.7\.0 /)
  const slow = await openDialogue(port)
  await slow.reply()
  const drip = setInterval(() => slow.write('N'), 50)
  t.match(await slow.reply(), /^421 4\.4\.2 /, 'although an octet came every 50 ms')
  clearInterval(drip)
})

t.test('who drips a message is let go after its time, and its connection ends', async (t) => {
  const { port } = await open(t, { idleTimeoutMs: 5000 }, { dataTimeoutMs: 300 })
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  const drip = setInterval(() => client.write('x'), 30)
  const began = performance.now()
  t.match(await client.reply(), /^421 4\.4\.2 /)
  t.equal(await client.reply(), '')
  t.ok(performance.now() - began < 2000)
  clearInterval(drip)
})

t.test('a network has only so many connections at once', async (t) => {
  const limits = createLimits({ ...none, network: { atOnce: 2 } })
  const { port } = await open(t, {}, { limits })
  const first = await openDialogue(port)
  const second = await openDialogue(port)
  t.match(await first.reply(), /^220/)
  t.match(await second.reply(), /^220/)
  const third = await openDialogue(port)
  t.match(await third.reply(), /^421 4\.7\.0 /)
  await first.say('QUIT')
  first.destroy()
  await sleep(50)
  const fourth = await openDialogue(port)
  t.match(await fourth.reply(), /^220/)
  second.destroy()
  fourth.destroy()
})

t.test('a flood of 2,000 connections ends in 421 and not in memory, and who is in is served', async (t) => {
  const { port } = await open(t, { connectionLimit: 100 })
  const inside = await openDialogue(port)
  await inside.reply()
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  const told = { served: 0, refused: 0, cut: 0 }
  const sockets: Socket[] = []
  for (let batch = 0; batch < 20; batch++) {
    const made = Array.from({ length: 100 }, () => flood(port, told))
    sockets.push(...made)
    await sleep(20)
  }
  for (let n = 0; n < 100 && told.served + told.refused + told.cut < 2000; n++) await sleep(100)
  const grown = (process.memoryUsage().rss - before) / 1024 / 1024
  t.equal(told.served, 99, 'the limit counts whoever is in')
  t.ok(told.refused > 200, `${told.refused} were told 421`)
  t.equal(told.refused + told.cut, 1901, `${told.cut} more were cut off`)
  t.ok(grown < 100, `memory grew by ${grown.toFixed(1)} MB with both ends in this process`)
  t.comment(`served ${told.served}, told 421 ${told.refused}, cut ${told.cut}, memory ${grown.toFixed(1)} MB more`)
  await inside.upToData('anna@acme.example', 'b@example.org')
  inside.write(`${mail}.\r\n`)
  t.match(await inside.reply(), /^250/)
  for (const socket of sockets) socket.destroy()
  await sleep(300)
  t.match(await send(port, 'anna@acme.example', 'b@example.org'), /^250/, 'and afterwards everybody is')
  inside.destroy()
})

function flood(port: number, told: { served: number; refused: number; cut: number }): Socket {
  const socket = connect(port, '127.0.0.1')
  let said = ''
  socket.on('data', (octets: Buffer) => {
    if (said === '') told[octets.toString('latin1').startsWith('220') ? 'served' : 'refused'] += 1
    said += octets.toString('latin1')
  })
  socket.on('error', () => undefined)
  void once(socket, 'close').then(() => {
    if (said === '') told.cut += 1
  })
  return socket
}
