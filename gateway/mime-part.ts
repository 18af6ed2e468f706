import { fieldsOf, fieldValue, type Header } from './header.ts'
import { decodeWords, parseStructured, type Structured } from './mime-words.ts'

/** What a part's own header says (RFC 2045). */
export type Part = {
  /** `text/plain`, lower case; that is also what a part without Content-Type is (RFC 2045 5.2). */
  readonly type: string
  readonly parameters: ReadonlyMap<string, string>
  /** Content-Transfer-Encoding, lower case; `7bit` without. */
  readonly encoding: string
  /** `attachment`, `inline`, …, lower case; '' without. */
  readonly disposition: string
  /** Decoded; '' without. */
  readonly filename: string
  /** Decoded; '' without, as in all parts that head no message. */
  readonly subject: string
  /** More than one Content-Type, or one that cannot be read. */
  readonly doubtful: boolean
  /** How many messages it lies in: 0 for the message itself and its own parts, 1 for those of a message attached to it. */
  readonly within: number
}

/** Characters of a subject that rules see, and in which tags are looked for. */
const SUBJECT_LIMIT = 4096

/** What a header says about the part that it heads; `otherwise` is its type where it says none. */
export function readPart(header: Header, within = 0, otherwise = 'text/plain'): Part {
  const types = fieldsOf(header, 'content-type')
  const type = parseStructured(types[0]?.value ?? otherwise)
  const disposition = parseStructured(fieldsOf(header, 'content-disposition')[0]?.value ?? '')
  const encoding = parseStructured(fieldsOf(header, 'content-transfer-encoding')[0]?.value ?? '7bit')
  const parameters: Structured['parameters'] = type?.parameters ?? new Map()
  return {
    type: type?.value ?? 'text/plain',
    parameters,
    encoding: encoding?.value ?? '7bit',
    disposition: disposition?.value ?? '',
    filename: decodeWords(disposition?.parameters.get('filename') ?? parameters.get('name') ?? '').slice(0, 1024),
    subject: decodeWords(fieldValue(header, 'subject') ?? '').slice(0, SUBJECT_LIMIT),
    doubtful: type === null || types.length > 1,
    within,
  }
}

export function isMultipart(part: Part): boolean {
  return part.type.startsWith('multipart/')
}

/** A message in the message whose own parts can be seen (RFC 2046 5.2.1, RFC 6532 3.7). */
export function isMessage(part: Part): boolean {
  const { type, encoding } = part
  return (type === 'message/rfc822' || type === 'message/global') && ['7bit', '8bit', 'binary'].includes(encoding)
}

/** Whether people see it as a file that comes with the message. */
export function isAttachment(part: Part): boolean {
  if (isMultipart(part)) return false
  if (part.disposition === 'attachment' || part.filename !== '') return true
  return !part.type.startsWith('text/')
}
