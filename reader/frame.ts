import type { CleanHtml } from './html.ts'
import type { Trusted } from './trusted.ts'

/** The frame's own policy, beside the page's that it inherits: pictures that it carries itself, styles, and nothing else. */
const FRAME_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

const HEAD = [
  '<!doctype html><html><head><meta charset="utf-8">',
  `<meta http-equiv="Content-Security-Policy" content="${FRAME_POLICY}">`,
  '<meta name="referrer" content="no-referrer"><meta http-equiv="x-dns-prefetch-control" content="off">',
  '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light"><title>Message</title></head>',
  '<body style="margin:0;padding:20px;background:#fff;color:#1b1f1e;overflow-wrap:anywhere;font:16px/1.55 system-ui,sans-serif">',
].join('')

/**
 * A frame that shows one cleaned part: a document of its own with an opaque origin, no script, no form, no network. A link may open a new tab,
 * which is then an ordinary one.
 */
export function createMessageFrame({ html }: CleanHtml, title: string, trusted: Trusted): HTMLIFrameElement {
  const frame = document.createElement('iframe')
  frame.setAttribute('sandbox', 'allow-popups allow-popups-to-escape-sandbox')
  frame.referrerPolicy = 'no-referrer'
  frame.title = title
  frame.className = 'paper'
  frame.style.height = `${estimateHeight(html)}px`
  // The policy's answer is a TrustedHTML where the browser knows such, which the DOM's types do not.
  frame.srcdoc = trusted.createHTML(`${HEAD}${html}</body></html>`)
  return frame
}

/**
 * A sandboxed document of another origin cannot be measured. A short message gets about the height that it needs, a long one a window's
 * worth to scroll in.
 */
function estimateHeight(html: string): number {
  const text = html.replace(/<[^>]*>/g, '').length
  const blocks = (html.match(/<(?:p|div|tr|li|br|h\d|hr|blockquote)\b/gi) ?? []).length
  const images = (html.match(/<img\b/gi) ?? []).length
  return Math.max(180, Math.min(64 + (text / 50) * 26 + blocks * 26 + images * 220, innerHeight * 0.75))
}
