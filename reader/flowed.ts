import type PostalMime from 'postal-mime'

/** What the parser has, and its types do not. */
type Inside = {
  collectNode?: (part: { decodeFlowedText?: typeof unflow }, ...more: readonly unknown[]) => Promise<void>
}

/**
 * Has `parser` make flowed text whole by {@link unflow}. By itself it joins quoted lines with their quote marks, and a quote with the answer
 * below it. A parser that is built in another way is left alone.
 */
export function mendFlowedText(parser: PostalMime): void {
  const inside = parser as unknown as Inside
  const { collectNode } = inside
  if (typeof collectNode !== 'function') return
  inside.collectNode = (part, ...more) => {
    part.decodeFlowedText = unflow
    return collectNode.call(parser, part, ...more)
  }
}

/**
 * Text with `format=flowed` (RFC 3676), its paragraphs made whole: a line that ends in a space goes on in the next one, if that one is quoted
 * as deeply. Of a quoted paragraph one line of quote marks is left. `deleteSpace` is `delsp=yes`. Lines end with LF.
 */
function unflow(text: string, deleteSpace: boolean): string {
  const paragraphs: string[] = []
  let pieces: string[] = []
  let last = ''
  for (const line of text.split(/\r?\n/)) {
    // Not as the RFC writes it, but as many do: '> >' for '>>'.
    const quote = /^>(?: ?>)*/.exec(line)?.[0] ?? ''
    const marks = quote.replaceAll(' ', '')
    // A space in front is stuffing.
    const words = line.slice(quote.length).replace(/^ /, '')
    const signature = words === '-- '
    if (marks !== last || signature) close()
    if (pieces.length === 0) pieces.push(marks === '' ? '' : `${marks} `)
    last = marks
    const flows = words.endsWith(' ') && !signature
    pieces.push(flows && deleteSpace ? words.slice(0, -1) : words)
    if (!flows) close()
  }
  close()
  return paragraphs.join('\n')

  function close(): void {
    if (pieces.length > 0) paragraphs.push(pieces.join(''))
    pieces = []
  }
}
