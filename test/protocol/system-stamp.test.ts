import t from 'tap'
import { type Address, type OrgId, parseAddress, parseOrgId } from '../../protocol/identifiers.ts'
import { canonicalBody, formatSystemStamp, parseSystemStamp, stampedOctets } from '../../protocol/system-stamp.ts'

// Both parse, as the tests below would show at once if not.
const org = parseOrgId('acme.example') as OrgId
const from = parseAddress('codes@acme.example') as Address
const to = parseAddress('bea@example.org') as Address

t.test('known answer: what the stamp of a system mail signs', async (t) => {
  const octets = stampedOctets({
    org,
    time: 1_800_000_000,
    from,
    to,
    subject: ' Your code ',
    body: '12345678\n\nHello\n\n',
  })
  // printf 'codes@acme.example\nbea@example.org\nYour code\n12345678\r\n\r\nHello' | openssl dgst -sha256 -binary | basenc --base64url | tr -d =
  t.equal(
    Buffer.from(octets).toString(),
    'sealpost/system/v1\nacme.example\n1800000000\nTn67IHU3G5POklpisL6HzR541l1EPHepk11l4n7d0Ac',
  )
})

t.test('a body has one form, whatever line ends a relay gave it', async (t) => {
  for (const body of ['a\n\nb', 'a\r\n\r\nb\r\n', 'a\r\rb\r', 'a\n\nb\n\n\n'])
    t.equal(canonicalBody(body), 'a\r\n\r\nb')
  t.equal(canonicalBody('\n\n'), '')
  t.equal(canonicalBody('\na'), '\r\na', 'an empty line at the start stays')
})

t.test('the field is read as it was written, also folded, and as nothing else', async (t) => {
  const stamp = { org: 'acme.example', time: 1_800_000_000, kid: 'k1', signature: new Uint8Array(64).fill(9) }
  const value = formatSystemStamp(stamp)
  t.same(parseSystemStamp(value), { ...stamp, signature: Buffer.from(stamp.signature) })
  t.ok(parseSystemStamp(value.replaceAll('; ', ';\r\n ')))
  for (const wrong of [
    '',
    'v=2',
    value.replace('v=1', 'v=2'),
    `${value}x`,
    `${value}; more=1`,
    value.slice(0, -1),
    `x ${value}`,
  ]) {
    t.equal(parseSystemStamp(wrong), null, wrong)
  }
})
