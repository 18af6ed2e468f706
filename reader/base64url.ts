/** Base64url without padding (RFC 4648 section 5). */
export function toBase64url(octets: Uint8Array): string {
  let binary = ''
  for (const octet of octets) binary += String.fromCharCode(octet)
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/** The octets that `text` stands for, or null if it is not canonical base64url. */
export function fromBase64url(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return null
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const octets = Uint8Array.from(binary, (character) => character.charCodeAt(0))
  return toBase64url(octets) === text ? octets : null
}

/** SHA-256, base64url. */
export async function sha256(octets: Uint8Array<ArrayBuffer>): Promise<string> {
  return toBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', octets)))
}
