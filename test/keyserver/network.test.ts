import t from 'tap'
import { canonicalIp, networkOf } from '../../keyserver/network.ts'

t.test('an address has one form, and a network of /24 or /48', async (t) => {
  const cases = [
    ['203.0.113.9', '203.0.113.9', '203.0.113.0/24'],
    ['::ffff:203.0.113.9', '203.0.113.9', '203.0.113.0/24'],
    ['::FFFF:CB00:7109', '203.0.113.9', '203.0.113.0/24'],
    ['2001:DB8:0001:2::1', '2001:db8:1:2::1', '2001:db8:1::/48'],
    ['2001:db8:1:ffff:ffff:ffff:ffff:ffff', '2001:db8:1:ffff:ffff:ffff:ffff:ffff', '2001:db8:1::/48'],
    ['2001:db8::1', '2001:db8::1', '2001:db8:0::/48'],
    ['2001:db8:0:7::1', '2001:db8:0:7::1', '2001:db8:0::/48'],
    ['::1', '::1', '0:0:0::/48'],
    ['fe80::1%eth0', 'fe80::1', 'fe80:0:0::/48'],
    ['unknown', '0.0.0.0', '0.0.0.0/24'],
    ['', '0.0.0.0', '0.0.0.0/24'],
  ] as const
  for (const [given, ip, network] of cases) {
    t.equal(canonicalIp(given), ip, given)
    t.equal(networkOf(given), network, given)
  }
})
