import { isIPv4, isIPv6, SocketAddress } from 'node:net'

/**
 * What a balancer says of its client before anything else (the PROXY protocol of HAProxy, versions 1 and 2). Pure; reads no further than the
 * header and stores nothing of it but address and port. TLVs are skipped.
 */
export type ProxyHeader =
  /** Not all of it has come yet. */
  | { readonly kind: 'more' }
  /** It is not such a header: the connection is not to be used. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** `length`: octets of the header; what follows is the client's. */
  | { readonly kind: 'client'; readonly address: string; readonly port: number; readonly length: number }
  /** The balancer speaks for itself (a health check), or cannot say for whom: nobody's address is known. */
  | { readonly kind: 'nobody'; readonly length: number }

/** The longest header, octets: version 1 has at most 107, version 2 is given room for its TLVs. */
export const PROXY_HEADER_LIMIT = 4096

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const LINE_LIMIT = 107
const more: ProxyHeader = { kind: 'more' }

/** What the first octets of a connection say. */
export function readProxyHeader(octets: Uint8Array): ProxyHeader {
  const start = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  if (start.length === 0) return more
  const compared = Math.min(start.length, SIGNATURE.length)
  if (start.compare(SIGNATURE, 0, compared, 0, compared) === 0) return start.length < 16 ? more : readBinary(start)
  return readLine(start)
}

/** Version 1: `PROXY TCP4 <source> <destination> <source port> <destination port>`. */
function readLine(start: Buffer): ProxyHeader {
  const prefix = 'PROXY '
  const known = start.toString('latin1', 0, Math.min(start.length, prefix.length))
  if (!prefix.startsWith(known)) return refused('what came is no PROXY header')
  const end = start.subarray(0, LINE_LIMIT).indexOf('\r\n')
  if (end === -1) return start.length < LINE_LIMIT ? more : refused('a PROXY line that does not end')
  const [, family = '', source = '', destination = '', port = '', otherPort = '', ...rest] = start
    .toString('latin1', 0, end)
    .split(' ')
  const length = end + 2
  if (family === 'UNKNOWN') return { kind: 'nobody', length }
  const fits = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : () => false
  const readable = fits(source) && fits(destination) && isPort(port) && isPort(otherPort)
  if (!readable || rest.length > 0 || source.includes('%')) return refused('a PROXY line that cannot be read')
  return { kind: 'client', address: source.toLowerCase(), port: Number(port), length }
}

/** Version 2: signature, version and command, family, length, addresses, TLVs. */
function readBinary(start: Buffer): ProxyHeader {
  const command = start.readUInt8(12)
  const family = start.readUInt8(13)
  const length = 16 + start.readUInt16BE(14)
  if (command >> 4 !== 2) return refused('a PROXY header of an unknown version')
  if ((command & 15) > 1) return refused('a PROXY header with an unknown command')
  if (length > PROXY_HEADER_LIMIT) return refused('a PROXY header that is too long')
  if (start.length < length) return more
  // LOCAL, UNSPEC and unix sockets: the header is skipped, whatever it holds.
  if ((command & 15) === 0 || family === 0x00 || family >> 4 === 3) return { kind: 'nobody', length }
  if (family === 0x11 && length >= 16 + 12) {
    return { kind: 'client', address: [...start.subarray(16, 20)].join('.'), port: start.readUInt16BE(24), length }
  }
  if (family === 0x21 && length >= 16 + 36) {
    const groups = Array.from({ length: 8 }, (_, i) => start.readUInt16BE(16 + 2 * i).toString(16))
    const { address } = new SocketAddress({ family: 'ipv6', address: groups.join(':') })
    return { kind: 'client', address, port: start.readUInt16BE(48), length }
  }
  return refused('a PROXY header that is not for TCP')
}

function refused(reason: string): ProxyHeader {
  return { kind: 'refused', reason }
}

function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}
