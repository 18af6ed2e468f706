/** Elements that end a line, or a cell. */
const BLOCKS = new Set(
  'address article aside blockquote br caption center dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table td th tr ul title'.split(
    ' ',
  ),
)

const TAG_NAME = /\/?([A-Za-z][A-Za-z0-9]{0,20})/y
const ends = { script: /<\/script/gi, style: /<\/style/gi } as const

/**
 * The text of an HTML document roughly as a reader sees it: without tags, comments, scripts and styles, entities of everyday use decoded,
 * blocks on lines of their own. Linear in its length, whatever it is.
 */
export function htmlText(html: string): string {
  const out: string[] = []
  const tagEnd = createTagSearch(html)
  let at = 0
  while (at < html.length) {
    const open = html.indexOf('<', at)
    out.push(decoded(html.slice(at, open === -1 ? undefined : open)))
    if (open === -1) break
    if (html.startsWith('<!--', open)) {
      at = endOf(html.indexOf('-->', open + 4), 3, html)
      continue
    }
    TAG_NAME.lastIndex = open + 1
    const name = TAG_NAME.exec(html)?.[1]?.toLowerCase()
    if (name === undefined && html[open + 1] !== '!' && html[open + 1] !== '?') {
      out.push('<')
      at = open + 1
      continue
    }
    const close = tagEnd(open)
    if (close === -1) {
      out.push(decoded(html.slice(open)))
      break
    }
    at = close + 1
    if (name !== undefined && BLOCKS.has(name)) out.push('\n')
    if ((name === 'script' || name === 'style') && html[open + 1] !== '/') at = afterRaw(html, at, name)
  }
  return out.join('')
}

function endOf(found: number, length: number, html: string): number {
  return found === -1 ? html.length : found + length
}

function afterRaw(html: string, from: number, name: 'script' | 'style'): number {
  const end = new RegExp(ends[name])
  end.lastIndex = from
  return end.exec(html)?.index ?? html.length
}

/** Finds where the tag closes that opens there; -1 if nothing closes it. */
function createTagSearch(html: string): (open: number) => number {
  // Quotes are minded only for so many steps in all, lest quotes that never end take time by the square.
  let steps = 4 * html.length
  return (open) => {
    let quote = ''
    for (let at = open + 1; at < html.length && steps > 0; at++) {
      steps -= 1
      const one = html[at] ?? ''
      if (quote !== '') quote = one === quote ? '' : quote
      else if (one === '>') return at
      else if (one === '"' || one === "'") quote = one
    }
    return html.indexOf('>', open)
  }
}

const entities: ReadonlyMap<string, string> = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['apos', "'"],
  ['nbsp', ' '],
  ['shy', ''],
  ['zwnj', ''],
  ['zwj', ''],
  ['ndash', '-'],
  ['minus', '-'],
  ['hyphen', '-'],
  ['auml', 'ä'],
  ['ouml', 'ö'],
  ['uuml', 'ü'],
  ['Auml', 'Ä'],
  ['Ouml', 'Ö'],
  ['Uuml', 'Ü'],
  ['szlig', 'ß'],
  ['eacute', 'é'],
  ['euro', '€'],
])

function decoded(text: string): string {
  const spaced = text.replace(/\s+/g, ' ')
  if (!spaced.includes('&')) return spaced
  return spaced.replace(/&(?:#(\d{1,7})|#[xX]([0-9A-Fa-f]{1,6})|([A-Za-z]{2,8}));?/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return entities.get(name) ?? whole
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}
