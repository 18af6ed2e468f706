import fc from 'fast-check'
import t from 'tap'
import { createDataScan } from '../../gateway/data-scan.ts'

/** What comes out of a scan that is fed in pieces of that size, up to the end; and what is left behind the end. */
function scan(text: string, size: number, bareNewlines: 'refuse' | 'normalise') {
  const made = createDataScan(bareNewlines)
  const wire = Buffer.from(text, 'latin1')
  const out: Uint8Array[] = []
  for (let at = 0; at < wire.length; at += size) {
    const { pieces, end } = made.feed(wire.subarray(at, at + size))
    out.push(...pieces)
    if (end !== -1) {
      return {
        content: Buffer.concat(out).toString('latin1'),
        rest: wire.toString('latin1', at + end),
        fault: made.fault(),
      }
    }
  }
  return { content: Buffer.concat(out).toString('latin1'), rest: null, fault: made.fault() }
}

const long = ['a longer run of text', '\tother\vcontrols\0\x0e', '\xff\x8d\x8a\xff'.repeat(4)]
const pieces = fc.array(fc.constantFrom('\r\n', '.', '\r', '\n', 'a', '..', '\r\n.\r\n', 'bc', ...long), {
  maxLength: 30,
})

t.test('content comes out as it went in, however it is cut', (t) => {
  fc.assert(
    fc.property(
      pieces,
      fc.integer({ min: 1, max: 40 }),
      fc.constantFrom('refuse', 'normalise'),
      (parts, size, mode) => {
        const text = `${parts.join('')}\r\n.\r\nNOOP\r\n`
        const cut = scan(text, size, mode)
        const whole = scan(text, 1, mode)
        t.strictSame([cut.rest, cut.fault], [whole.rest, whole.fault])
        // What is refused may have begun to come out before its fault was met.
        if (mode === 'normalise' || whole.fault === null) t.equal(cut.content, whole.content)
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

t.test('lines are un-stuffed and the dot line is not content', (t) => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[ab.]{0,4}$/), { maxLength: 8 }), (lines) => {
      const wire = lines.map((line) => `${line.startsWith('.') ? '.' : ''}${line}\r\n`).join('')
      const { content, rest, fault } = scan(`${wire}.\r\nNEXT`, 3, 'refuse')
      t.equal(content, lines.map((line) => `${line}\r\n`).join(''))
      t.equal(rest, 'NEXT')
      t.equal(fault, null)
    }),
    { numRuns: 200 },
  )
  t.end()
})

t.test('only CRLF.CRLF ends a message', (t) => {
  for (const wire of ['a\n.\n', 'a\n.\r\n', 'a\r\n.\n', 'a\r.\r', 'a\r\n.\r', 'a\r\n..\r\n', '.\n', '..\r\n']) {
    t.equal(scan(wire, 1, 'normalise').rest, null, JSON.stringify(wire))
  }
  for (const wire of ['.\r\n', '\r\n.\r\n', 'a\r\n.\r\n', 'a\n.\n\r\n.\r\n']) {
    t.equal(scan(wire, 1, 'normalise').rest, '', JSON.stringify(wire))
  }
  t.end()
})

t.test('normalised content has CRLF line ends only', (t) => {
  fc.assert(
    fc.property(pieces, (parts) => {
      const { content } = scan(`${parts.join('')}\r\n.\r\n`, 2, 'normalise')
      t.notMatch(content.replaceAll('\r\n', ''), /[\r\n]/)
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('the first bare newline is named with its line', (t) => {
  t.strictSame(scan('a\r\nb\nc\rd\r\n.\r\n', 1, 'refuse').fault, { kind: 'LF', line: 2 })
  t.strictSame(scan('\ra\r\n.\r\n', 1, 'refuse').fault, { kind: 'CR', line: 1 })
  t.equal(scan('a\r\n\r\n.\r\n', 1, 'refuse').fault, null)
  t.end()
})
