/** What the address of the page asks for. `cut`: a link to a message that is no longer whole. */
export type Link =
  | { readonly kind: 'message'; readonly envelope: string }
  | { readonly kind: 'cut' }
  | { readonly kind: 'none' }

/** Reads a path. Behind the envelope id of `/m/<id>` may stand what a mail program took for a part of the link: a dot, a bracket. */
export function readLink(path: string): Link {
  const envelope = /^\/m\/([A-Za-z0-9_-]{21}[AQgw])(?![A-Za-z0-9_-])/.exec(path)?.[1]
  if (envelope !== undefined) return { kind: 'message', envelope }
  return /^\/m(?:\/|$)/.test(path) ? { kind: 'cut' } : { kind: 'none' }
}
