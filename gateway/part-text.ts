import type { AttachmentKind } from '../rulebook/index.ts'
import { htmlText } from './html-text.ts'
import { encodings, type Part } from './mime-part.ts'
import { decoderOf } from './mime-words.ts'

export type PartText = {
  readonly text: string
  /** All of it, in a character set and a transfer encoding that are known, and no message with parts or encodings of its own. */
  readonly whole: boolean
}

/** In a message that is read as a text, because its parts could not be told. */
const MIME_FIELD = /^content-(?:type|transfer-encoding)[ \t]*:/im

/** The text of a part from its decoded octets; `cut`: there were more. In an unknown character set, what is ASCII can be read. */
export function readPartText(
  part: Part,
  kind: AttachmentKind,
  { octets, cut }: { readonly octets: Uint8Array; readonly cut: boolean },
): PartText {
  const decoders = charsetsOf(part, octets).map(decoderOf)
  const text = decoders.map((known) => (known ?? new TextDecoder('latin1')).decode(octets)).join('\n')
  const shown = kind === 'html' || part.type === 'text/html' ? htmlText(text) : text
  const told = kind !== 'message' || !MIME_FIELD.test(text)
  return { text: shown, whole: !cut && !decoders.includes(null) && encodings.includes(part.encoding) && told }
}

/** Files are read by their byte order mark, mail by what it says; UTF-16 that says neither by some in one order, by others in the other. */
function charsetsOf(part: Part, octets: Uint8Array): readonly string[] {
  const mark = markOf(octets)
  const said = part.parameters.get('charset')?.toLowerCase() ?? 'utf-8'
  if (said === 'utf-16' && mark === null) return ['utf-16le', 'utf-16be']
  return mark === null || mark === said ? [said] : [mark, said]
}

/** The character set that a byte order mark tells. */
function markOf(octets: Uint8Array): string | null {
  const [first, second, third] = octets
  if (first === 0xff && second === 0xfe) return 'utf-16le'
  if (first === 0xfe && second === 0xff) return 'utf-16be'
  return first === 0xef && second === 0xbb && third === 0xbf ? 'utf-8' : null
}
