/** The octets of base64url without padding (RFC 4648 section 5), or null if `text` is not the one canonical encoding of any. */
export function decodeBase64url(text: string): Uint8Array<ArrayBuffer> | null {
  const octets = Buffer.from(text, 'base64url')
  return octets.toString('base64url') === text ? new Uint8Array(octets) : null
}

/** base64url without padding. */
export function encodeBase64url(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('base64url')
}
