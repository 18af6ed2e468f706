import { randomBytes } from 'node:crypto'
import t from 'tap'
import { faults } from '../../envelope/fault.ts'
import { parseHeader } from '../../envelope/header.ts'
import { identifyOctets, open, sealpostProfile } from '../../envelope/reader.ts'
import { sealWhole } from '../../envelope/writer.ts'
import { freshOptions, inPieces, openOrFault, sealed } from './material.ts'

const MESSAGE = Buffer.from('Subject: Hello\r\n\r\nGood day.\r\n')

t.test('no bit of an envelope can be altered', async (t) => {
  const options = freshOptions()
  const octets = await sealed(MESSAGE, options)
  const seen = new Set<string>()
  for (let bit = 0; bit < octets.length * 8; bit++) {
    const altered = Buffer.from(octets)
    altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    const outcome = await openOrFault(altered, options, MESSAGE.length)
    if (typeof outcome !== 'string') t.fail(`bit ${bit} was altered and the envelope opened`)
    else seen.add(outcome)
  }
  t.comment(`${octets.length * 8} bits; refused as ${[...seen].sort().join(', ')}`)
  t.same(await openOrFault(octets, options, MESSAGE.length), new Uint8Array(MESSAGE), 'unaltered, it opens')
})

t.test('an envelope cut short at any octet is refused as truncated', async (t) => {
  const options = { ...freshOptions(), frameLength: 16 }
  const octets = await sealed(MESSAGE, options)
  for (let length = 0; length < octets.length; length++) {
    const outcome = await openOrFault(octets.subarray(0, length), options, MESSAGE.length)
    if (outcome !== 'truncated') t.fail(`cut to ${length} octets: ${outcome}`)
  }
  t.pass(`${octets.length} lengths`)
})

t.test('octets behind the end are refused', async (t) => {
  const options = freshOptions()
  const octets = await sealed(MESSAGE, options)
  for (const more of [Buffer.alloc(1), Buffer.from('\r\n'), octets]) {
    t.equal(await openOrFault(Buffer.concat([octets, more]), options, MESSAGE.length), 'trailing-octets')
  }
})

t.test('frames cannot be dropped, doubled or swapped', async (t) => {
  const options = { ...freshOptions(), frameLength: 8 }
  const message = randomBytes(40)
  const octets = await sealed(message, options)
  const head = parseHeader(octets, sealpostProfile.limits)?.length ?? 0
  const frame = (i: number) => octets.subarray(head + i * 40, head + (i + 1) * 40)
  const rest = octets.subarray(head + 5 * 40)
  const arranged = (...order: number[]) => Buffer.concat([octets.subarray(0, head), ...order.map(frame), rest])
  t.same(await openOrFault(arranged(0, 1, 2, 3, 4), options, 40), new Uint8Array(message))
  for (const order of [[0, 1, 2, 3], [1, 2, 3, 4], [0, 0, 1, 2, 3, 4], [1, 0, 2, 3, 4], []]) {
    t.equal(await openOrFault(arranged(...order), options, 40), 'altered', order.join(' '))
  }
})

t.test('another data key is refused before anything is decrypted', async (t) => {
  const options = freshOptions()
  const octets = await sealed(MESSAGE, options)
  t.equal(await openOrFault(octets, { ...options, dataKey: randomBytes(32) }, MESSAGE.length), 'wrong-key')
  t.equal(await openOrFault(octets, { ...options, dataKey: randomBytes(16) }, MESSAGE.length), 'wrong-key')
})

t.test('a message of another size than the confirmed one is refused', async (t) => {
  for (const encoding of ['identity', 'deflate'] as const) {
    const options = freshOptions(encoding)
    const octets = await sealed(MESSAGE, options)
    for (const size of [0, MESSAGE.length - 1, MESSAGE.length + 1]) {
      t.equal(await openOrFault(octets, options, size), 'wrong-size', `${encoding}, ${size}`)
    }
  }
})

t.test('inflating stops at the confirmed size', async (t) => {
  const options = freshOptions('deflate')
  const bomb = await sealed(Buffer.alloc(200 * 1024 * 1024), options, 1024 * 1024)
  const before = process.memoryUsage.rss()
  t.equal(await openOrFault(bomb, options, 1024 * 1024), 'wrong-size')
  t.ok(process.memoryUsage.rss() - before < 100 * 1024 * 1024, 'memory stays far below what the bomb holds')
})

t.test('what does not inflate, or ends early, is refused', async (t) => {
  const options = freshOptions('deflate')
  // Sealed as identity under a context that says deflate: the message itself is no DEFLATE stream.
  const { context, ...keys } = options
  const honest = sealWhole(MESSAGE, { ...keys, context: { ...context, encoding: 'identity' } })
  t.equal(await openOrFault(honest, { ...keys, context }, MESSAGE.length).then((o) => typeof o), 'object')
  const short = {
    profile: { ...sealpostProfile, encodingOf: () => 'deflate' as const },
    unlock: () => ({ dataKey: keys.dataKey, plainSize: 29 }),
  }
  await t.rejects(open([honest], short), { code: /^(bad-compression|wrong-size)$/ })
})

t.test('nothing is asked for before the header has been judged', async (t) => {
  const refused = Buffer.from(await sealed(MESSAGE, freshOptions()))
  refused.write('sealpist', refused.lastIndexOf('sealpost'))
  await t.rejects(open([refused], { unlock: () => t.fail('asked') as never }), { code: 'malformed-header' })
})

t.test('the identity of a copy can be read from its first octets', async (t) => {
  const { context, wrappedKey, dataKey } = freshOptions()
  const octets = await sealed(MESSAGE, { context, wrappedKey, dataKey })
  const identity = identifyOctets(octets.subarray(0, 400))
  t.same(identity.context, context)
  t.ok(Buffer.from(wrappedKey).equals(identity.wrappedKey))
  t.throws(() => identifyOctets(octets.subarray(0, 100)), { code: 'truncated' })
  t.throws(() => identifyOctets(Buffer.from('From: anna@acme.example\r\n')), { code: 'not-an-envelope' })
})

t.test('progress is told in sealed octets and ends with the last one', async (t) => {
  const options = { ...freshOptions(), frameLength: 1000 }
  const octets = await sealed(randomBytes(5500), options)
  const seen: number[] = []
  const { dataKey } = options
  await open(inPieces(octets, 100), { unlock: () => ({ dataKey, plainSize: 5500 }), onProgress: (at) => seen.push(at) })
  t.equal(seen.length, 6)
  t.equal(seen.at(-1), octets.length)
})

t.test('every refusal has words for a person', (t) => {
  for (const words of Object.values(faults)) t.match(words, /^[A-Z].*\.$/)
  t.end()
})
