import DOMPurify from 'dompurify'
import { toDataUrl } from './file.ts'
import { decodeCid, type InlineImage } from './message.ts'
import { cleanStyle, inlineStyles } from './style.ts'

/** HTML of a message, made harmless: no script, no form, nothing that loads from anywhere. */
export type CleanHtml = {
  readonly html: string
  /** Pictures that would have been fetched from the network, and were not. */
  readonly remoteImages: number
}

const KEPT_ATTRIBUTES = new Set([
  ...['href', 'src', 'alt', 'title', 'style', 'dir', 'lang', 'width', 'height', 'align', 'valign', 'bgcolor', 'color'],
  ...[
    'face',
    'size',
    'border',
    'cellpadding',
    'cellspacing',
    'colspan',
    'rowspan',
    'start',
    'type',
    'value',
    'nowrap',
    'span',
    'scope',
  ],
])
const FORBIDDEN_TAGS = [
  ...[
    'style',
    'form',
    'input',
    'button',
    'textarea',
    'select',
    'option',
    'label',
    'fieldset',
    'datalist',
    'output',
    'meter',
    'progress',
  ],
  ...['video', 'audio', 'source', 'track', 'picture', 'map', 'area', 'dialog', 'marquee', 'template', 'slot', 'search'],
]

/**
 * Cleans one HTML part as a document of its own. `cid:` images become data: URLs, all others give way to their alternative text; links open in
 * a new tab that learns nothing of this page.
 */
export function cleanHtml(html: string, images: ReadonlyMap<string, InlineImage>): CleanHtml {
  const { rest, css } = withoutStyles(html)
  // With RETURN_DOM the answer is the body of an inert document.
  const body = DOMPurify.sanitize(rest, {
    USE_PROFILES: { html: true },
    FORBID_TAGS: FORBIDDEN_TAGS,
    ADD_ATTR: ['text'],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM: true,
  }) as HTMLElement
  inlineStyles(body, css)
  colourBody(body)
  let remoteImages = 0
  for (const element of [...body.querySelectorAll<HTMLElement>('*')]) {
    if (element instanceof HTMLImageElement && !settleImage(element, images)) remoteImages++
    settleElement(element)
  }
  cleanStyle(body.style)
  const frame = body.ownerDocument.createElement('div')
  frame.style.cssText = body.style.cssText
  for (const name of ['dir', 'lang']) {
    const value = body.getAttribute(name) ?? body.ownerDocument.documentElement.getAttribute(name)
    if (value !== null) frame.setAttribute(name, value)
  }
  frame.append(...body.childNodes)
  return { html: frame.outerHTML, remoteImages }
}

/**
 * Takes style elements and comments out before anything parses the HTML: a style element is refused by the page's policy even in a document
 * that is never shown. What is left is cleaned as a whole, so it does not matter what a hostile message makes of this cut.
 */
function withoutStyles(html: string): { readonly rest: string; readonly css: string } {
  const css: string[] = []
  const rest = html.replace(
    /<!--[\s\S]*?-->|<style\b[^>]*>([\s\S]*?)<\/style\s*>/gi,
    (_, style: string | undefined) => {
      if (style !== undefined) css.push(style)
      return ''
    },
  )
  return { rest, css: css.join('\n') }
}

/** The colours of the body's own attributes: light text that was written for a dark ground is not to stand on white. */
function colourBody(body: HTMLElement): void {
  body.style.backgroundColor ||= body.getAttribute('bgcolor') ?? ''
  body.style.color ||= body.getAttribute('text') ?? ''
}

function settleElement(element: HTMLElement): void {
  for (const name of element.getAttributeNames()) if (!KEPT_ATTRIBUTES.has(name)) element.removeAttribute(name)
  const href = element.getAttribute('href')
  if (href !== null) settleLink(element, href)
  cleanStyle(element.style)
  if (element.getAttribute('style') === '') element.removeAttribute('style')
}

function settleLink(element: HTMLElement, href: string): void {
  if (element.tagName !== 'A' || !/^(?:https?:\/\/|mailto:|tel:)/i.test(href.trim())) {
    element.removeAttribute('href')
    return
  }
  element.setAttribute('target', '_blank')
  element.setAttribute('rel', 'noopener noreferrer nofollow')
  // So that what a link says and where it leads can be compared, whatever the message says in its place.
  element.setAttribute('title', href.trim())
}

/** False if the picture lies on the network. */
function settleImage(image: HTMLImageElement, images: ReadonlyMap<string, InlineImage>): boolean {
  const source = image.getAttribute('src')?.trim() ?? ''
  image.removeAttribute('src')
  const inline = /^cid:/i.test(source) ? images.get(decodeCid(source.slice(4))) : undefined
  if (inline !== undefined) image.setAttribute('src', toDataUrl(inline))
  else if (/^data:image\/(?:png|jpe?g|gif|webp|bmp|avif);base64,[A-Za-z0-9+/=\s]+$/i.test(source))
    image.setAttribute('src', source)
  else {
    const alternative = image.getAttribute('alt')?.trim() ?? ''
    const pixel = Number(image.getAttribute('width') ?? 9) <= 3
    image.replaceWith(alternative === '' || pixel ? '' : `[${alternative}]`)
    return !/^https?:|^\/\//i.test(source)
  }
  fit(image)
  return true
}

/** Shrinks with the frame, in the proportions that were asked for. */
function fit(image: HTMLImageElement): void {
  image.style.maxWidth = '100%'
  const [width, height] = [image.getAttribute('width') ?? '', image.getAttribute('height') ?? '']
  if (!/^[1-9]\d*$/.test(width) || !/^[1-9]\d*$/.test(height)) return
  image.style.aspectRatio = `${width} / ${height}`
  image.style.height = 'auto'
}
