/** SMTP replies as a client reads them (RFC 5321 4.2), bounded: a next hop can make us neither store nor print what it likes. */

export type Reply = {
  /** 200 to 599 */
  readonly code: number
  /** RFC 3463 code of the first line that bears one, or null. */
  readonly enhanced: string | null
  /** The lines without codes, joined by one space; printable ASCII, at most 400 characters. */
  readonly text: string
  /** The lines without the reply code, as EHLO needs them. */
  readonly lines: readonly string[]
}

/** What cannot be a reply: the connection is not to be used any more. */
export class ReplyFault extends Error {
  override readonly name = 'ReplyFault'
}

export type ReplyReader = {
  /** The replies that these octets complete. Throws {@link ReplyFault}. */
  push(octets: Uint8Array): Reply[]
  /** Nothing of a further reply has come yet. */
  empty(): boolean
}

const LINE_LIMIT = 4096
const LINES_LIMIT = 128
const TEXT_LIMIT = 400
const LINE = /^([2-5]\d\d)(?:([ -])(.*))?$/s
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/

export function createReplyReader(): ReplyReader {
  let rest = ''
  let lines: string[] = []
  let code = ''
  return {
    empty: () => rest === '' && lines.length === 0,
    push(octets) {
      const replies: Reply[] = []
      const text = rest + Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')
      let at = 0
      for (let end = text.indexOf('\n', at); end !== -1; end = text.indexOf('\n', at)) {
        const line = readLine(text.slice(at, end), code)
        at = end + 1
        code = line.code
        lines.push(line.text)
        if (lines.length > LINES_LIMIT) throw new ReplyFault('a reply of too many lines')
        if (line.last) {
          replies.push(toReply(Number(code), lines))
          lines = []
          code = ''
        }
      }
      rest = text.slice(at)
      if (rest.length > LINE_LIMIT) throw new ReplyFault('a reply line that does not end')
      return replies
    },
  }
}

function readLine(line: string, code: string): { code: string; text: string; last: boolean } {
  if (line.length > LINE_LIMIT) throw new ReplyFault('a reply line that is too long')
  const match = LINE.exec(line.endsWith('\r') ? line.slice(0, -1) : line)
  if (match === null) throw new ReplyFault('a line that is no SMTP reply')
  const [, own = '', separator = ' ', text = ''] = match
  if (code !== '' && own !== code) throw new ReplyFault('a reply whose lines differ in code')
  return { code: own, text, last: separator !== '-' }
}

function toReply(code: number, lines: readonly string[]): Reply {
  let enhanced: string | null = null
  const words: string[] = []
  for (const line of lines) {
    const match = ENHANCED.exec(line)
    if (match !== null && Number(match[1]?.[0]) === Math.floor(code / 100)) {
      enhanced ??= match[1] ?? null
      words.push(line.slice(match[0].length))
    } else words.push(line)
  }
  return { code, enhanced, text: printable(words.join(' ')), lines }
}

/** One line of printable ASCII, at most 400 characters. */
export function printable(text: string): string {
  return text
    .slice(0, 2 * TEXT_LIMIT)
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/ {2,}/g, ' ')
    .trim()
    .slice(0, TEXT_LIMIT)
}
