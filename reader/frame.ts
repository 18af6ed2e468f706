import { h } from './element.ts'
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

/** Of a frame on the papers of the world, CSS pixels. Text is higher on the narrow one, pictures on the wide one. */
const PAPER_WIDTHS = ['540', '680']

export type MessageFrame = {
  readonly frame: HTMLIFrameElement
  /** Finds out how high the frame is on paper, as soon as it stands in the page. */
  readonly gauge: HTMLElement
}

/**
 * A frame that shows one cleaned part: a document of its own with an opaque origin, no script, no form, no network. A link may open a new tab,
 * which is then an ordinary one.
 */
export function createMessageFrame({ html }: CleanHtml, title: string, trusted: Trusted): MessageFrame {
  const frame = document.createElement('iframe')
  frame.setAttribute('sandbox', 'allow-popups allow-popups-to-escape-sandbox')
  frame.referrerPolicy = 'no-referrer'
  frame.title = title
  frame.className = 'paper'
  frame.style.setProperty('--seen', `${estimateHeight(html)}px`)
  // The policy's answer is a TrustedHTML where the browser knows such, which the DOM's types do not.
  const source = trusted.createHTML(`${HEAD}${html}</body></html>`)
  frame.srcdoc = source
  return { frame, gauge: createGauge(frame, source) }
}

/**
 * On paper a frame shows no more than its height, and what a sandboxed document of another origin needs cannot be known. So it is laid out
 * once more, unseen, where the page may measure it: in a sandbox without scripts, under the same policies. Gone as soon as it is measured.
 */
function createGauge(frame: HTMLElement, source: string): HTMLElement {
  const gauge = h('div', { class: 'gauge', 'aria-hidden': 'true', inert: '' })
  const twin = h('iframe', { sandbox: 'allow-same-origin', referrerpolicy: 'no-referrer', tabindex: '-1' })
  twin.srcdoc = source
  twin.addEventListener('load', () => {
    const heights = PAPER_WIDTHS.map((width) => {
      twin.width = width
      return twin.contentDocument?.documentElement.scrollHeight ?? 0
    })
    frame.style.setProperty('--whole', `${Math.max(...heights)}px`)
    gauge.remove()
  })
  gauge.attachShadow({ mode: 'closed' }).append(twin)
  return gauge
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
