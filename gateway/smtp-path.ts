const QUOTED = /"(?:[^"\\\p{Cc}]|\\[\x20-\x7e])*"/u
const ATOMS = /[^\s<>"\\@\p{Cc}]+/u
const DOMAIN = /(?:[^\s<>"\\@[\]\p{Cc}]+|\[[\x21-\x5a\x5e-\x7e]+\])/u
const PATH = new RegExp(`^(?:${QUOTED.source}|${ATOMS.source})@${DOMAIN.source}$`, 'u')

/** Whether the address can stand between the angle brackets of MAIL and RCPT and end nothing there (RFC 5321 4.1.2, RFC 6531). */
export function isPath(address: string): boolean {
  return address.length <= 320 && PATH.test(address)
}

/** Printable ASCII throughout. */
export function isAscii(text: string): boolean {
  return !/[^\x20-\x7e]/.test(text)
}
