import { clipped } from './document.ts'
import type { Spot } from './fault.ts'
import { addressFaults, characterFaults, slotFaults } from './notice-text.ts'

const TAGS = new Set([
  ...['p', 'br', 'hr', 'div', 'span', 'b', 'strong', 'i', 'em', 'u', 'small', 'h1', 'h2', 'h3', 'ul', 'ol', 'li', 'a'],
  ...['table', 'thead', 'tbody', 'tr', 'td', 'th', 'blockquote'],
])
const VOID = new Set(['br', 'hr'])
const ATTRIBUTES = new Set([
  ...['style', 'lang', 'dir', 'align', 'valign', 'width', 'height', 'bgcolor', 'border', 'role'],
  ...['cellpadding', 'cellspacing', 'colspan', 'rowspan'],
])
const ANCHOR = '<a href="{link}">{link}</a>'
const KINDS: Readonly<Record<string, string>> = {
  img: 'a picture tells its owner who reads the mail, and mail programs block it; colours go into style="…"',
  script: 'mail programs run no scripts; remove it with all in it',
  style: 'write styles into the tags, as in <p style="color:#333333">',
  form: 'nothing may be typed into a mail; the page behind {link} asks for what it needs',
  input: 'nothing may be typed into a mail; the page behind {link} asks for what it needs',
  button: `the only link is ${ANCHOR}`,
  html: 'write only what stands inside of <body>; the rest is made',
  head: 'write only what stands inside of <body>; the rest is made',
  body: 'write only what stands inside of <body>; the rest is made',
  title: 'remove it: the title is made',
  meta: 'remove it: the head is made',
}

// No two of the ways into the repetition begin with the same character: time is linear.
const TAG = /<(\/?)([A-Za-z][A-Za-z0-9]*)((?:[^<>"']|"[^"<>]*"|'[^'<>]*')*)>/y
const ATTRIBUTE = /\s+([A-Za-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/y

type Open = { readonly name: string; readonly offset: number }

/** What is wrong with the HTML of an organization's own notice; offsets are into it. What is not known to be harmless is a fault. */
export function* htmlFaults(html: string): Generator<Spot> {
  yield* characterFaults(html)
  yield* slotFaults(html)
  const open: Open[] = []
  let leads = false
  let at = 0
  while (at < html.length) {
    const next = html.indexOf('<', at)
    const end = next === -1 ? html.length : next
    yield* addressFaults(html.slice(at, end), at)
    if (next === -1) break
    TAG.lastIndex = next
    const tag = TAG.exec(html)
    if (tag === null) {
      yield {
        offset: next,
        message: "a '<' that begins no whole tag",
        hint: 'write &lt; for the character; comments are not read',
      }
      return
    }
    yield* tagFaults(html, tag, open)
    leads ||= isLink(html, tag)
    at = next + tag[0].length
  }
  for (const { name, offset } of open)
    yield { offset, message: `<${name}> is not closed`, hint: `write </${name}> where it ends` }
  if (!leads) {
    yield { offset: 0, message: 'nothing here leads to the message', hint: `write ${ANCHOR}` }
  }
  for (const { index } of html.matchAll(/\{recipients\}(?!\s*<\/)/g)) {
    const hint = 'put it into a tag of its own: <p>{recipients}</p>'
    yield { offset: index, message: '{recipients} stands before something else', hint }
  }
}

function* tagFaults(html: string, tag: RegExpExecArray, open: Open[]): Generator<Spot> {
  const [, slash, written = '', inside = ''] = tag
  const offset = tag.index
  const name = written.toLowerCase()
  if (!TAGS.has(name)) {
    const hint = KINDS[name] ?? `known: ${[...TAGS].join(', ')}`
    yield { offset, message: `<${clipped(name)}> cannot stand in a notice`, hint }
    return
  }
  if (slash === '/') {
    const last = open.at(-1)
    if (last?.name === name) open.pop()
    else
      yield {
        offset,
        message: `</${name}> closes nothing here`,
        hint: last ? `close <${last.name}> first` : 'remove it',
      }
    return
  }
  if (!VOID.has(name)) open.push({ name, offset })
  yield* attributeFaults(name, inside, offset)
  if (name === 'a' && !isLink(html, tag)) {
    const hint = `write ${ANCHOR}: the only link is the message's, and its text is where it leads`
    yield { offset, message: 'a link that is not the link to the message', hint }
  }
}

function isLink(html: string, { 0: whole, index }: RegExpExecArray): boolean {
  const leads =
    /^<a\s+href\s*=\s*(?:"\{link\}"|'\{link\}')[\s>]/i.test(whole) && !/\shref\s*=.*\shref\s*=/is.test(whole)
  return leads && html.startsWith('{link}</a>', index + whole.length)
}

function* attributeFaults(name: string, inside: string, offset: number): Generator<Spot> {
  ATTRIBUTE.lastIndex = 0
  let read = 0
  for (let found = ATTRIBUTE.exec(inside); found !== null; found = ATTRIBUTE.exec(inside)) {
    read = ATTRIBUTE.lastIndex
    const [, written = '', double, single] = found
    const attribute = written.toLowerCase()
    const value = double ?? single ?? ''
    if (attribute === 'href' && name === 'a') continue
    if (!ATTRIBUTES.has(attribute)) {
      const hint = `known: ${[...ATTRIBUTES].join(', ')}`
      yield { offset, message: `'${clipped(attribute)}' cannot stand in <${name}>`, hint }
    } else if (value.includes('{')) {
      yield {
        offset,
        message: `a slot in '${attribute}' of <${name}>`,
        hint: 'slots stand between tags, and {link} in href',
      }
    } else if (attribute === 'style' && !/^[\w\s:;#%.,()+'-]*$/.test(value)) {
      yield {
        offset,
        message: `the style of <${name}> holds what it may not`,
        hint: 'plain values, such as color:#333333',
      }
    } else if (attribute === 'style' && /url|image|expression|behavior|binding/i.test(value)) {
      yield {
        offset,
        message: `the style of <${name}> would load something`,
        hint: 'a notice loads nothing: colours and sizes only',
      }
    }
  }
  if (!/^\s*\/?$/.test(inside.slice(read))) {
    yield { offset, message: `<${name}> has an attribute that cannot be read`, hint: 'write attributes as width="100"' }
  }
}
