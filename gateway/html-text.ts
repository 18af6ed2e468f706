/** Elements that end a line, or a cell. */
const BLOCKS = new Set(
  'address article aside blockquote br caption center dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table td th tr ul title'.split(
    ' ',
  ),
)

const TAG_NAME = /\/?([A-Za-z][^\t\n\f\r />]{0,20})/y
/** What closes a comment; `<!-->` and `<!--->` are whole ones. */
const COMMENT_END = /(?<=<!--)-?>|--!?>/g
const ends = { script: /<\/script/gi, style: /<\/style/gi } as const

/**
 * The text of an HTML document roughly as a reader sees it: without tags, comments, scripts and styles, entities of everyday use decoded,
 * blocks on lines of their own. Where tags and comments end is what browsers make of it (HTML Living Standard 13.2.5), or earlier: nothing
 * that they show is left out. Linear in its length, whatever it is.
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
      at = afterComment(html, open + 4)
      continue
    }
    TAG_NAME.lastIndex = open + 1
    const name = TAG_NAME.exec(html)?.[1]?.toLowerCase()
    if (name === undefined && !'!?/'.includes(html[open + 1] ?? ' ')) {
      out.push('<')
      at = open + 1
      continue
    }
    const close = name === undefined ? html.indexOf('>', open) : tagEnd(open)
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

function afterComment(html: string, from: number): number {
  const end = new RegExp(COMMENT_END)
  end.lastIndex = from
  return end.exec(html) === null ? html.length : end.lastIndex
}

function afterRaw(html: string, from: number, name: 'script' | 'style'): number {
  const end = new RegExp(ends[name])
  end.lastIndex = from
  return end.exec(html)?.index ?? html.length
}

type InTag = 'before' | 'name' | 'after' | 'equals' | 'value' | '"' | "'"

/** What comes after a character of a tag, behind its name: a quote opens only where a value begins. */
function stepInTag(state: InTag, one: string): InTag {
  if (state === '"' || state === "'") return one === state ? 'before' : state
  const space = ' \t\n\f\r'.includes(one)
  if (state === 'equals') return space ? state : one === '"' || one === "'" ? one : 'value'
  if (state === 'value') return space ? 'before' : state
  if (one === '/') return 'before'
  if (state === 'before') return space ? state : 'name'
  if (one === '=') return 'equals'
  return space ? 'after' : 'name'
}

/** Finds where the tag closes that opens there; -1 if nothing closes it. */
function createTagSearch(html: string): (open: number) => number {
  // Quotes are minded only for so many steps in all, lest quotes that never end take time by the square.
  let steps = 4 * html.length
  return (open) => {
    const behindName = /[\t\n\f\r />]/g
    behindName.lastIndex = open + 2
    let state: InTag = 'before'
    for (let at = behindName.exec(html)?.index ?? html.length; at < html.length && steps > 0; at++) {
      steps -= 1
      const one = html[at] ?? ''
      if (one === '>' && state !== '"' && state !== "'") return at
      state = stepInTag(state, one)
    }
    return html.indexOf('>', open)
  }
}

/** What stands between letters and digits, and the letters that are written so most. */
const entities: ReadonlyMap<string, string> = new Map(
  [
    [' ', 'nbsp ensp emsp emsp13 emsp14 numsp puncsp thinsp hairsp NonBreakingSpace ThinSpace MediumSpace Tab'],
    ['', 'shy zwnj zwj lrm rlm ZeroWidthSpace NoBreak'],
    ['-', 'ndash mdash minus hyphen dash horbar'],
    ...['\n NewLine', '& amp AMP', '< lt LT', '> gt GT', '" quot QUOT', "' apos", '! excl', '# num', '$ dollar'].map(
      pair,
    ),
    ...['% percnt', '( lpar', ') rpar', '* ast', '+ plus', ', comma', '. period', '/ sol', '\\ bsol', ': colon'].map(
      pair,
    ),
    ...['; semi', '= equals', '? quest', '@ commat', '[ lsqb lbrack', '] rsqb rbrack', '_ lowbar', '| vert'].map(pair),
    ...['ä auml', 'ö ouml', 'ü uuml', 'Ä Auml', 'Ö Ouml', 'Ü Uuml', 'ß szlig', 'é eacute', '€ euro'].map(pair),
  ].flatMap(([character = '', names = '']) => names.split(' ').map((name) => [name, character] as const)),
)

function pair(text: string): [string, string] {
  return [text.slice(0, 1), text.slice(2)]
}

/** Known without a semicolon even where a letter follows (HTML Living Standard 13.5). */
const OLD_NAME = /^(?:nbsp|shy|amp|lt|gt|quot|[aouAOU]uml|szlig|eacute)/

const REFERENCE = /&(?:#0*(\d{1,7})|#[xX]0*([0-9A-Fa-f]{1,6})|([A-Za-z][A-Za-z0-9]{1,23}));?/g

function decoded(text: string): string {
  const spaced = text.replace(/\s+/g, ' ')
  if (!spaced.includes('&')) return spaced
  return spaced.replace(REFERENCE, (whole, decimal, hex, name) => {
    if (name !== undefined) return entities.get(name) ?? byOldName(whole)
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

function byOldName(reference: string): string {
  const [name] = OLD_NAME.exec(reference.slice(1)) ?? []
  return name === undefined ? reference : (entities.get(name) ?? '') + reference.slice(1 + name.length)
}
