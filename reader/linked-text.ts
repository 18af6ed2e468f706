import { h } from './element.ts'

const ADDRESS = /https?:\/\/[^\s<>"'`\u201c\u201d]+[^\s<>"'`\u201c\u201d.,;:!?)\]}]/g

/** Plain text with its web addresses as links that open a new tab. Everything is set as text. */
export function linkedText(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment()
  let at = 0
  for (const match of text.matchAll(ADDRESS)) {
    fragment.append(text.slice(at, match.index), linkTo(match[0]))
    at = match.index + match[0].length
  }
  fragment.append(text.slice(at))
  return fragment
}

/** From left to right, whatever runs around it or is in it: a host is not to look like a path. */
function linkTo(address: string): HTMLAnchorElement {
  return h('a', { href: address, dir: 'ltr', target: '_blank', rel: 'noopener noreferrer nofollow' }, address)
}
