import { BlockList, isIP } from 'node:net'

/** Addresses and ranges (`192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`) to ask about, or what is wrong with the first faulty one. */
export function blockListOf(ranges: readonly string[]): { readonly list: BlockList } | { readonly fault: string } {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', prefix, ...more] = range.split('/')
    const version = isIP(address)
    const most = version === 6 ? 128 : 32
    if (version === 0 || more.length > 0)
      return { fault: `${range} is neither an address nor a range such as 192.0.2.0/24` }
    const bits = prefix === undefined ? most : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
    if (bits > most || bits < 0) return { fault: `${range} has no prefix length from 0 to ${most}` }
    if (bits === 0) return { fault: `${range} is the whole world; that would be an open relay` }
    list.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4')
  }
  return { list }
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
}

/** Addresses that name this machine, this link, nobody or everybody: what a stranger's DNS says to be there is not where it says. */
const HERE = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/128', '::1/128', 'fe80::/10', 'ff00::/8'],
]

/** Whether a stranger's DNS may send us to this address. Private networks are left in: a house may resolve its own names so. */
export function isAbroad(address: string): boolean {
  const here = blockListOf(HERE)
  const version = isIP(address)
  return version !== 0 && 'list' in here && !here.list.check(address, version === 6 ? 'ipv6' : 'ipv4')
}
