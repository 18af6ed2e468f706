import { kindByName } from '../rulebook/index.ts'
import { fieldsOf, type Header } from './header.ts'
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
  /** Decoded; '' without. Of several the first that names a program or a script, if one does: some mail program goes by it. */
  readonly filename: string
  /** Decoded, of all fields; '' without, as in all parts that head no message. */
  readonly subject: string
  /** Mail programs need not agree on what part this is: a field that says so stands twice, or cannot be read, or a line of its header is none. */
  readonly doubtful: boolean
  /** How many messages it lies in: 0 for the message itself and its own parts, 1 for those of a message attached to it. */
  readonly within: number
}

/** Characters of a subject that rules see, and in which tags are looked for. */
const SUBJECT_LIMIT = 4096
/** Characters of a file name. */
const NAME_LIMIT = 1024

/** What a header says about the part that it heads; `otherwise` is its type where it says none. */
export function readPart(header: Header, within = 0, otherwise = 'text/plain'): Part {
  const type = readField(header, 'content-type', otherwise)
  const disposition = readField(header, 'content-disposition', '')
  const encoding = readField(header, 'content-transfer-encoding', '7bit')
  const known = type.read !== null && MEDIA_TYPE.test(type.read.value)
  const subjects = fieldsOf(header, 'subject').flatMap(({ value }) => (value === '' ? [] : [value]))
  const parameters: Structured['parameters'] = type.read?.parameters ?? new Map()
  const part = {
    type: known ? (type.read?.value ?? 'text/plain') : 'text/plain',
    parameters,
    encoding: encoding.read?.value ?? '7bit',
    disposition: disposition.read?.value ?? '',
    filename: nameOf(
      [disposition.read, type.read].flatMap((read) => [...given(read, 'filename'), ...given(read, 'name')]),
    ),
    subject: decodeWords(subjects.join(' ')).slice(0, SUBJECT_LIMIT),
    doubtful: !known || [type, disposition, encoding].some(({ doubtful }) => doubtful),
    within,
  }
  const unread = header.fields.some((field) => field.key === '')
  return { ...part, doubtful: part.doubtful || unread || isGuessed(part) }
}

/** What some mail programs make a multipart, or a file in an encoding that they guess. */
function isGuessed(part: Part): boolean {
  if (!isMultipart(part) && part.parameters.has('boundary')) return true
  return isAttachment(part) && !encodings.includes(part.encoding)
}

/** Transfer encodings (RFC 2045 6). */
export const encodings: readonly string[] = ['7bit', '8bit', 'binary', 'base64', 'quoted-printable']

const MEDIA_TYPE = /^[\w!#$&^.+{}|'%*`~-]+\/[\w!#$&^.+{}|'%*`~-]+$/

function readField(header: Header, name: string, otherwise: string) {
  const values = fieldsOf(header, name).map(({ value }) => value)
  const value = values[0] ?? otherwise
  const read = parseStructured(value === '' ? otherwise : value)
  const twice = read?.others.some(([parameter]) => parameter === 'boundary' || parameter === 'charset') === true
  return { read, doubtful: values.length > 1 || twice || (read === null && value !== '') }
}

/** Every name that a field gives, the one that should count first. */
function given(read: Structured | null, name: string): string[] {
  const [first, others] = [read?.parameters.get(name), read?.others ?? []]
  return [first ?? '', ...others.filter(([parameter]) => parameter === name).map(([, content]) => content)]
}

function nameOf(all: readonly string[]): string {
  // The end of a long name tells what it is.
  const names = all.filter((name) => name !== '').map((name) => decodeWords(name).slice(-NAME_LIMIT))
  return names.find((name) => ['program', 'script'].includes(kindByName(name) ?? '')) ?? names[0] ?? ''
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
