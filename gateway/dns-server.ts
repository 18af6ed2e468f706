import { isIP } from 'node:net'

/** A name server: an address, and a port where it is not 53. */
export type DnsServer = { readonly address: string; readonly port: number }

/** `address`, `address:port` or `[address]:port`; null if it is none of them. */
export function dnsServerOf(text: string): DnsServer | null {
  if (isIP(text) !== 0) return { address: text, port: 53 }
  const [, address = '', port = ''] = /^\[?([^\]]*)\]?:(\d{1,5})$/.exec(text) ?? []
  const bracketed = text.startsWith('[')
  if (isIP(address) !== (bracketed ? 6 : 4) || Number(port) < 1 || Number(port) > 65_535) return null
  return { address, port: Number(port) }
}
