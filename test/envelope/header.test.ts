import t from 'tap'
import { readContext } from '../../envelope/context.ts'
import { parseHeader } from '../../envelope/header.ts'
import { sealpostProfile } from '../../envelope/reader.ts'
import { freshOptions, sealed } from './material.ts'

const { limits } = sealpostProfile

type Part = string | Buffer
const uint16 = (value: number) => Buffer.from([value >> 8, value & 255])
const text = (value: Part) => Buffer.concat([uint16(value.length), Buffer.from(value)])
const block = (count: number, ...texts: Part[]) => text(Buffer.concat([uint16(count), ...texts.map(text)]))
const oneKey = Buffer.concat([uint16(1), text('sealpost'), text('id'), text(Buffer.alloc(60))])

/** A header by hand: what is between the message id and the content type is given, the rest is plain. */
function header({ context = uint16(0) as Buffer, keys = oneKey, type = 2, frame = 4096 } = {}): Buffer {
  const tail = Buffer.alloc(4 + 32 + 16)
  tail.writeUInt32BE(frame)
  return Buffer.concat([Buffer.from([2, 4, 0x78]), Buffer.alloc(32, 7), context, keys, Buffer.from([type]), tail])
}

t.test('a header written by hand is read', (t) => {
  const read = parseHeader(header({ context: block(2, 'a', '1', 'b', '2') }), limits)
  t.same(read?.pairs, [
    ['a', '1'],
    ['b', '2'],
  ])
  t.equal(read?.frameLength, 4096)
  t.end()
})

t.test('context keys that are not sorted, or not unique, are refused', (t) => {
  t.throws(() => parseHeader(header({ context: block(2, 'b', '1', 'a', '2') }), limits), { code: 'not-canonical' })
  t.throws(() => parseHeader(header({ context: block(2, 'a', '1', 'a', '2') }), limits), { code: 'not-canonical' })
  t.throws(() => parseHeader(header({ context: block(2, 'ab', '1', 'a', '2') }), limits), { code: 'not-canonical' })
  t.end()
})

t.test('an empty context has no count', (t) => {
  t.throws(() => parseHeader(header({ context: text(uint16(0)) }), limits), { code: 'not-canonical' })
  t.end()
})

t.test('a context that is longer or shorter than its keys is refused', (t) => {
  t.throws(() => parseHeader(header({ context: block(1, 'a', '1', 'b', '2') }), limits), { code: 'malformed-header' })
  t.throws(() => parseHeader(header({ context: block(3, 'a', '1', 'b', '2') }), limits), { code: 'malformed-header' })
  t.throws(() => parseHeader(header({ context: block(1, Buffer.from([0xff]), '1') }), limits), {
    code: 'malformed-header',
  })
  t.end()
})

t.test('exactly one encrypted data key is allowed', (t) => {
  const two = Buffer.concat([uint16(2), oneKey.subarray(2), oneKey.subarray(2)])
  for (const keys of [uint16(0), two])
    t.throws(() => parseHeader(header({ keys }), limits), { code: 'malformed-header' })
  t.end()
})

t.test('unframed content and frames outside the limits are refused', (t) => {
  t.throws(() => parseHeader(header({ type: 1 }), limits), { code: 'malformed-header' })
  for (const frame of [0, 1024 * 1024 + 1, 0xffffffff]) {
    t.throws(() => parseHeader(header({ frame }), limits), { code: 'malformed-header' })
  }
  t.end()
})

t.test('a header without end is refused at the limit, and not waited for', (t) => {
  const endless = Buffer.concat([Buffer.from([2, 4, 0x78]), Buffer.alloc(32), Buffer.alloc(70_000, 5)])
  t.equal(parseHeader(endless.subarray(0, 36), limits), null, 'too little to tell')
  t.throws(
    () => parseHeader(endless.subarray(0, 400), limits),
    { code: 'header-too-large' },
    'the context says 1,285 octets',
  )
  t.throws(() => parseHeader(header({ context: block(1, 'a', 'x'.repeat(990)) }), limits), { code: 'header-too-large' })
  t.end()
})

t.test('other versions and suites are named', (t) => {
  t.throws(() => parseHeader(Buffer.from([2, 5, 0x78]), limits), { code: 'unsupported-suite', detail: 'suite 0x0578' })
  t.throws(() => parseHeader(Buffer.from([3]), limits), { code: 'unsupported-version' })
  t.throws(() => parseHeader(Buffer.from('AgR4'), limits), { code: 'not-an-envelope' })
  t.end()
})

t.test('the context must be ours, key by key and value by value', async (t) => {
  const read = parseHeader(await sealed(Buffer.from('x'), freshOptions()), limits)
  const pairs = [...(read?.pairs ?? [])]
  t.equal(readContext(pairs).encoding, 'identity')
  const changed = (at: number, key: string, value: string) => pairs.with(at, [key, value])
  for (const wrong of [
    [],
    pairs.slice(1),
    [...pairs, ['zebra', '1'] as const],
    changed(0, 'encoding', 'gzip'),
    changed(1, 'envelope', 'short'),
    changed(2, 'org', 'Acme.example'),
    changed(3, 'sealpost-version', '2'),
    changed(4, 'terms', ''),
    changed(4, 'Terms', pairs[4]?.[1] ?? ''),
  ]) {
    t.throws(() => readContext(wrong), { code: 'malformed-header' }, JSON.stringify(wrong.at(-1)))
  }
})
