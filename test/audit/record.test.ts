import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { kinds, MAX_RECIPIENTS } from '../../audit/kinds.ts'
import { newPseudonym, openSide, personal, readSide, sealPart, sealSide } from '../../audit/personal.ts'
import { decodeLeaf, encodeLeaf, MAX_LEAF, splitRecord } from '../../audit/record.ts'
import { createLogWriter } from '../../audit/writer.ts'
import { act, ending, HOST, issued, life, ORG, START } from './chest.ts'

const text = (octets: Uint8Array): string => Buffer.from(octets).toString('utf8')
const envelope = newPseudonym()
const revoked = ending('revoked', envelope, START).record

t.test('a leaf is canonical JSON: sorted members, no white space, its own index', async (t) => {
  t.equal(
    text(encodeLeaf(ending('expired', 'AAAAAAAAAAAAAAAAAAAAAA', START).record, 7, null)),
    '{"envelope":"AAAAAAAAAAAAAAAAAAAAAA","index":7,"kind":"expired","request":null,"side":null,"time":"2030-01-01T00:00:00.000Z","v":1}',
  )
})

t.test('what was encoded is decoded to the same', async (t) => {
  for (const { record } of life(ORG, START)) {
    const decoded = decodeLeaf(encodeLeaf(record, 3, 'A'.repeat(43)))
    t.same(decoded, { kind: 'leaf', leaf: { v: 1, index: 3, side: 'A'.repeat(43), record } })
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 500 }), (reason) => {
      const record = { ...revoked, reason: reason.toWellFormed() } as typeof revoked
      const decoded = decodeLeaf(encodeLeaf(record, 0, null))
      return decoded.kind === 'leaf' && JSON.stringify(decoded.leaf.record) === JSON.stringify(canonical(record))
    }),
  )
})

t.test('a leaf with anything changed in its form is refused', async (t) => {
  const good = text(encodeLeaf(revoked, 0, null))
  const bad: readonly (readonly [string, string])[] = [
    [` ${good}`, 'white space'],
    [good.replace('"v":1', '"v":2'), 'another version'],
    [good.replace('"v":1', '"v":1.0'), 'a number written otherwise'],
    [good.replace('"kind":"revoked"', '"kind":"unheard-of"'), 'an unknown kind'],
    [good.replace('"kind":"revoked"', '"kind":"constructor"'), 'a kind out of the prototype'],
    [good.replace('"index":0', '"index":-1'), 'a negative index'],
    [good.replace('"reason":"a test"', '"reason":"a test","spare":1'), 'an unknown field'],
    [good.replace('"reason":"a test"', '"reason":"a test","reason":"a test"'), 'a field twice'],
    [good.replace('"reason":"a test",', ''), 'a missing field'],
    [good.replace('a test', '\\u0061 test'), 'a needless escape'],
    [good.replace('.000Z', 'Z'), 'a time without milliseconds'],
    [good.replace('2030-01-01', '2030-02-30'), 'a day that is none'],
    [good.slice(0, -1), 'cut'],
    ['[]', 'a list'],
    ['null', 'null'],
    ['', 'nothing'],
  ]
  for (const [octets, what] of bad) t.equal(decodeLeaf(Buffer.from(octets)).kind, 'refused', what)
  t.equal(decodeLeaf(Buffer.of(0xff, 0xfe)).kind, 'refused', 'not UTF-8')
  t.equal(decodeLeaf(Buffer.alloc(MAX_LEAF + 1, 0x20)).kind, 'refused', 'too long')
})

t.test('no octets make the decoder throw', async () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => decodeLeaf(octets).kind === 'refused'))
  fc.assert(fc.property(fc.json(), (json) => decodeLeaf(Buffer.from(json)).kind === 'refused'))
})

t.test('the writer refuses a record that the decoder would refuse', async (t) => {
  const writer = createLogWriter(HOST, new Map())
  const wrong = { ...revoked, reason: 'x'.repeat(2000) } as typeof revoked
  t.throws(() => encodeLeaf(wrong, 0, null), RangeError)
  t.throws(() => writer.stage(ORG, [act(START), { record: wrong }]), RangeError)
  writer.committed()
  t.equal(writer.frontier(ORG).size, 0, 'and stages nothing of the call')
})

t.test('a thousand recipients are split into parts, each with the sealed values of its own people', async (t) => {
  const keys = new Map(Array.from({ length: 1000 }, () => [newPseudonym(), randomBytes(32)]))
  const salt = randomBytes(16)
  const address = (pseudonym: string): string => `${pseudonym}@example.org`
  const people = [...keys.keys()].map((pseudonym) => ({ pseudonym, address: personal(address(pseudonym), salt) }))
  const side = [...keys].map(([pseudonym, key]) => sealPart(key, ORG, pseudonym, [{ salt, value: address(pseudonym) }]))
  const sender = people.at(-1) ?? null
  const record = { ...issued(envelope, START, people), sender }
  const writer = createLogWriter(HOST, new Map())
  const rows = writer.stage(ORG, [{ record, side }])
  t.equal(rows.length, Math.ceil(1000 / MAX_RECIPIENTS))
  t.ok(rows.every((row) => row.record.length <= MAX_LEAF))
  const found = rows.flatMap((row) => {
    const decoded = decodeLeaf(row.record)
    if (decoded.kind !== 'leaf' || decoded.leaf.record.kind !== 'issued') return []
    return decoded.leaf.record.recipients.map(
      ({ pseudonym, address: commitment }) =>
        openSide(keys.get(pseudonym) ?? salt, ORG, pseudonym, row.side ?? salt)?.get(commitment) === address(pseudonym),
    )
  })
  t.equal(found.length, 1000)
  t.ok(found.every(Boolean), 'each address is found beside the leaf that names its owner')
  t.equal(splitRecord(revoked).length, 1)
})

t.test(
  'a clear value is opened by its owner only: not with another key, log or person, nor when altered',
  async (t) => {
    const [key, other] = [randomBytes(32), randomBytes(32)]
    const [anna, bert] = [newPseudonym(), newPseudonym()]
    const salt = randomBytes(16)
    const side = sealSide([
      sealPart(key, ORG, anna, [{ salt, value: 'anna@example.org' }]),
      sealPart(other, ORG, bert, [{ salt, value: 'bert@example.org' }]),
    ])
    if (side === null) throw new Error('there must be a side-car')
    t.same([...(openSide(key, ORG, anna, side) ?? [])], [[personal('anna@example.org', salt), 'anna@example.org']])
    t.equal(openSide(other, ORG, anna, side), null)
    t.equal(openSide(key, 'other.example', anna, side), null)
    t.equal(openSide(key, ORG, bert, side), null)
    t.equal(openSide(key, ORG, newPseudonym(), side), null)
    for (const at of [21, 40, 60]) {
      const altered = Buffer.from(side)
      altered.writeUInt8(altered.readUInt8(at) ^ 1, at)
      t.equal(openSide(key, ORG, anna, altered), null, `octet ${at}`)
    }
    t.equal(readSide(side.subarray(0, -1)), null)
    t.equal(sealSide([]), null)
  },
)

t.test('a commitment is base64url SHA-256 of salt and value', async (t) => {
  t.equal(personal('anna@example.org', Buffer.alloc(16)), 'dYLzPyTgNLHjy3s_ZxkQHhHckx_M-hocLhjK53t0krw')
  t.throws(() => personal('anna@example.org', Buffer.alloc(8)), RangeError)
})

t.test('every kind of record has a table of its own fields', async (t) => {
  for (const [kind, fields] of Object.entries(kinds)) {
    t.notOk(
      Object.keys(fields).some((name) => ['v', 'index', 'side', 'kind', 'time', 'request'].includes(name)),
      kind,
    )
  }
})

function canonical(value: object): object {
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, member]): [string, unknown] => [
        name,
        typeof member === 'object' && member !== null && !Array.isArray(member) ? canonical(member) : member,
      ])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}
