/** Quoted-printable (RFC 2045 6.7) of text with CRLF line ends, as UTF-8; lines of up to 76 characters. */
export function quotedPrintable(text: string): string {
  return text.split('\r\n').map(codeLine).join('\r\n')
}

function codeLine(line: string): string {
  let out = ''
  let column = 0
  const octets = Buffer.from(line, 'utf8')
  for (const [i, octet] of octets.entries()) {
    const last = i === octets.length - 1
    const blank = octet === 0x20 || octet === 0x09
    const plain = (octet >= 0x21 && octet <= 0x7e && octet !== 0x3d) || (blank && !last)
    const token = plain ? String.fromCharCode(octet) : `=${octet.toString(16).toUpperCase().padStart(2, '0')}`
    if (column + token.length > 75) {
      out += '=\r\n'
      column = 0
    }
    out += token
    column += token.length
  }
  return out
}

/** Of lines that end with CRLF, in characters. */
export function longestLine(text: string): number {
  let longest = 0
  for (let at = 0; at <= text.length; ) {
    const found = text.indexOf('\r\n', at)
    const end = found === -1 ? text.length : found
    if (end - at > longest) longest = end - at
    at = end + 2
  }
  return longest
}
