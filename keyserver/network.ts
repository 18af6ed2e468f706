import { isIP, SocketAddress } from 'node:net'

/** A client's address in one form: IPv4 dotted (also where it came mapped into IPv6), IPv6 compressed and without a zone. */
export function canonicalIp(ip: string): string {
  const [bare = ''] = ip.split('%')
  const family = isIP(bare)
  if (family === 0) return '0.0.0.0'
  const { address } = new SocketAddress({ address: bare, family: family === 4 ? 'ipv4' : 'ipv6' })
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  return mapped?.[1] ?? address
}

/** The network that limits and counted records go by: the /24 of an IPv4 address, the /48 of an IPv6 one. */
export function networkOf(ip: string): string {
  const address = canonicalIp(ip)
  if (isIP(address) === 4) return `${address.split('.').slice(0, 3).join('.')}.0/24`
  const [head = '', tail = ''] = address.split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === '' ? [] : tail.split(':')
  const middle = address.includes('::') ? Array.from({ length: 8 - front.length - back.length }, () => '0') : []
  const groups = [...front, ...middle, ...back].slice(0, 3)
  return `${groups.join(':')}::/48`
}
