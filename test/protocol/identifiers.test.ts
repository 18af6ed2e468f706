import t from 'tap'
import { parseAddress } from '../../protocol/identifiers.ts'

t.test('addresses of one person have one form', (t) => {
  const same: readonly (readonly [string, string])[] = [
    ['Anna@ACME.example', 'anna@acme.example'],
    ['anna@acme.example.', 'anna@acme.example'],
    ['anna@bücher.example', 'anna@xn--bcher-kva.example'],
    ['"anna"@acme.example', 'anna@acme.example'],
    ['"an\\na.b"@acme.example', 'anna.b@acme.example'],
    ['"Anna B"@acme.example', '"anna b"@acme.example'],
    ['"anna\\ b"@acme.example', '"anna b"@acme.example'],
    ['"a\\"b\\\\c"@acme.example', '"a\\"b\\\\c"@acme.example'],
    ['"a@b"@acme.example', '"a@b"@acme.example'],
    ['"a..b"@acme.example', '"a..b"@acme.example'],
    ['""@acme.example', '""@acme.example'],
    ['a"b"@acme.example', 'a"b"@acme.example'],
  ]
  for (const [text, address] of same) {
    t.equal(parseAddress(text), address, text)
    t.equal(parseAddress(address), address, 'and keeps it')
  }
  t.end()
})

t.test('what is no address', (t) => {
  for (const text of ['', 'anna', '@acme.example', 'anna@', 'an\nna@acme.example', `${'a'.repeat(320)}@acme.example`]) {
    t.equal(parseAddress(text), null, JSON.stringify(text))
  }
  t.end()
})
