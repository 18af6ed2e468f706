import type { AttachmentKind } from '../rulebook/index.ts'
import { htmlText } from './html-text.ts'
import type { Part } from './mime-part.ts'
import { decoderOf } from './mime-words.ts'

export type PartText = {
  readonly text: string
  /** All of it, in a character set and a transfer encoding that are known, and no message with parts or encodings of its own. */
  readonly whole: boolean
}

/** In a message that is read as a text, because its parts could not be told. */
const MIME_FIELD = /^content-(?:type|transfer-encoding)[ \t]*:/im

const encodings = ['7bit', '8bit', 'binary', 'base64', 'quoted-printable']

/** The text of a part from its decoded octets; `cut`: there were more. In an unknown character set, what is ASCII can be read. */
export function readPartText(
  part: Part,
  kind: AttachmentKind,
  { octets, cut }: { readonly octets: Uint8Array; readonly cut: boolean },
): PartText {
  const label = markOf(octets) ?? part.parameters.get('charset') ?? 'utf-8'
  const known = decoderOf(label)
  const text = (known ?? new TextDecoder('latin1')).decode(octets)
  const shown = kind === 'html' || part.type === 'text/html' ? htmlText(text) : text
  const told = kind !== 'message' || !MIME_FIELD.test(text)
  return { text: shown, whole: !cut && known !== null && encodings.includes(part.encoding) && told }
}

/** The character set that a byte order mark tells. */
function markOf(octets: Uint8Array): string | null {
  const [first, second, third] = octets
  if (first === 0xff && second === 0xfe) return 'utf-16le'
  if (first === 0xfe && second === 0xff) return 'utf-16be'
  return first === 0xef && second === 0xbb && third === 0xbf ? 'utf-8' : null
}
