import type { SealedParts } from './compose.ts'
import type { Framing } from './egress-header.ts'
import { type EndOf, endInHtml, endInText } from './egress-slots.ts'
import type { NoticeTemplate, Pieces } from './notice-template.ts'

/** What is wrong with a body (latin1) from its first octet to the end of `attachmentHeader`, or to its end; null if nothing is. */
export function noticeFault(
  body: string,
  framing: Framing,
  template: NoticeTemplate,
  parts: SealedParts,
  attachmentHeader: string,
): string | null {
  const inner = framing.type === 'mixed' ? mixedPart(body, framing.boundary, attachmentHeader) : null
  if (framing.type === 'mixed' && inner === null) return 'the parts of the mail are not the ones it has'
  const boundary = inner?.boundary ?? framing.boundary
  const match = PARTS.exec(inner?.text ?? body)
  if (match === null || match[1] !== boundary || match[4] !== boundary || match[7] !== boundary) {
    return 'the parts of the notice are not the ones it has'
  }
  const [, , textEncoding = '', codedText = '', , htmlEncoding = '', codedHtml = ''] = match
  const text = textOf(codedText, textEncoding)
  const html = textOf(codedHtml, htmlEncoding)
  if (text === null || html === null) return 'a part of the notice is not encoded as it says'
  return piecesFault(text, template.text, endInText, parts) ?? piecesFault(html, template.html, endInHtml, parts)
}

const ENCODING = 'Content-Transfer-Encoding: (7bit|quoted-printable)\\r\\n\\r\\n'
const PARTS = new RegExp(
  `^--(\\S+)\\r\\nContent-Type: text/plain; charset=utf-8\\r\\n${ENCODING}([^]*?)\\r\\n` +
    `--(\\S+)\\r\\nContent-Type: text/html; charset=utf-8\\r\\n${ENCODING}([^]*?)\\r\\n--(\\S+)--\\r\\n$`,
)

function mixedPart(body: string, boundary: string, attachmentHeader: string) {
  const begin = `--${boundary}\r\nContent-Type: multipart/alternative;\r\n boundary="`
  const end = `\r\n--${boundary}\r\n${attachmentHeader}`
  if (!body.startsWith(begin) || !body.endsWith(end)) return null
  const rest = body.slice(begin.length, -end.length)
  const close = rest.indexOf('"\r\n\r\n')
  return close === -1 ? null : { boundary: rest.slice(0, close), text: rest.slice(close + 5) }
}

function piecesFault(body: string, pieces: Pieces, endOf: EndOf, parts: SealedParts): string | null {
  let at = 0
  for (const piece of pieces) {
    if (typeof piece === 'string') {
      if (!body.startsWith(piece, at)) return 'the notice is not the template'
      at += piece.length
      continue
    }
    const end = endOf(piece, body, at, parts)
    if (end === null) return `the slot ${piece.slot} of the notice holds something else`
    at = end
  }
  return at === body.length ? null : 'something follows the notice'
}

/** The text of a part; null where its octets are not what its encoding says. */
function textOf(coded: string, encoding: string): string | null {
  if (encoding === '7bit') {
    const fits =
      !/[^\r\n\x20-\x7e]/.test(coded) && (coded.length < 999 || coded.split('\r\n').every((line) => line.length <= 998))
    return fits ? coded : null
  }
  if (/[^\r\n\x20-\x7e]|^[^\r\n]{77}|=(?!\r\n|[0-9A-F]{2})/m.test(coded)) return null
  const octets = coded
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
  return Buffer.from(octets, 'latin1').toString('utf8')
}
