/** The envelope id in the path of a link, `/m/<id>`; null for any other path. */
export function envelopeIn(path: string): string | null {
  return /^\/m\/([A-Za-z0-9_-]{21}[AQgw])\/?$/.exec(path)?.[1] ?? null
}
