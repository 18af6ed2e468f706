/** Takes the transfer encoding off a body as it comes. What does not belong there is passed over, as mail programs do. */
export type TransferDecoder = (octets: Uint8Array) => Uint8Array

/** RFC 2045 6. `encoding` in lower case; one that is not known leaves the octets as they are. */
export function createTransferDecoder(encoding: string): TransferDecoder {
  if (encoding === 'base64') return base64Decoder()
  if (encoding === 'quoted-printable') return quotedPrintableDecoder()
  return (octets) => octets
}

const PAD = 64
const NONE = 65

/** The value of each octet in base64. */
const values = new Uint8Array(256).fill(NONE)
for (const [value, letter] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/='].entries()) {
  values[letter.charCodeAt(0)] = value
}

/** Goes on behind padding: what stands there is shown by some mail programs. */
function base64Decoder(): TransferDecoder {
  let bits = 0
  let held = 0
  return (octets) => {
    const out = Buffer.allocUnsafe(Math.ceil((octets.length * 3) / 4) + 3)
    let to = 0
    for (const octet of octets) {
      const value = values[octet] ?? NONE
      if (value === NONE) continue
      if (value === PAD) {
        held = 0
        continue
      }
      bits = ((bits << 6) | value) & 0xffffff
      held += 6
      if (held < 8) continue
      held -= 8
      out[to++] = (bits >> held) & 0xff
    }
    return out.subarray(0, to)
  }
}

/** The value of each octet as a hexadecimal digit. */
const digits = new Uint8Array(256).fill(NONE)
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  digits[digit.charCodeAt(0)] = value
  digits[digit.toUpperCase().charCodeAt(0)] = value
}

const EQUALS = 0x3d
const LF = 0x0a
const BLANKS: readonly number[] = [0x20, 0x09, 0x0d]

/** RFC 2045 6.7. An equals sign that begins neither an octet nor a soft line end stays as it stands. */
function quotedPrintableDecoder(): TransferDecoder {
  /** What stands behind an equals sign so far; null outside. */
  let behind: number[] | null = null
  return (octets) => {
    const out = Buffer.allocUnsafe(octets.length + LONGEST + 1)
    let to = 0
    const put = (these: readonly number[]) => {
      for (const one of these) out[to++] = one
    }
    for (let at = 0; at < octets.length; at++) {
      const octet = octets[at] ?? 0
      if (behind === null) {
        if (octet !== EQUALS) {
          out[to++] = octet
          continue
        }
        const high = digits[octets[at + 1] ?? 0] ?? NONE
        const low = digits[octets[at + 2] ?? 0] ?? NONE
        // Nearly always it is this.
        if (high !== NONE && low !== NONE) {
          out[to++] = high * 16 + low
          at += 2
        } else behind = []
        continue
      }
      behind.push(octet)
      const meant = meaning(behind)
      if (meant === 'more') continue
      if (meant === 'none') put([EQUALS, ...behind])
      else put(meant)
      behind = null
    }
    return out.subarray(0, to)
  }
}

/** Blanks before the line end that are believed. */
const LONGEST = 64

/** The octets that what stands behind an equals sign means. */
function meaning(behind: readonly number[]): readonly number[] | 'more' | 'none' {
  const [first = 0, second] = behind
  const last = behind.at(-1) ?? 0
  if (behind.every((octet, index) => BLANKS.includes(octet) || (octet === LF && index === behind.length - 1))) {
    if (last === LF) return []
    return behind.length < LONGEST ? 'more' : 'none'
  }
  const high = digits[first] ?? NONE
  if (high === NONE || behind.length > 2) return 'none'
  if (second === undefined) return 'more'
  const low = digits[second] ?? NONE
  return low === NONE ? 'none' : [high * 16 + low]
}
