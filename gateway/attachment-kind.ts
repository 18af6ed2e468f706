import { type AttachmentKind, kindByName, kindByType } from '../rulebook/index.ts'

/** First octets of a decoded part that tell what it is. */
export const MAGIC_OCTETS = 512

/**
 * What an attachment is. Whatever says that it is a program or a script is believed, name, type or octets: each of them is what some
 * receiver goes by. Else the octets count before the name, and the name before the type.
 */
export function kindOf(name: string, type: string, head: Uint8Array): AttachmentKind {
  const said = [kindByName(name), kindByType(type)]
  const seen = kindByMagic(head)
  const all = [...said, seen]
  if (all.includes('program')) return 'program'
  if (all.includes('script')) return 'script'
  const [first, second] = said
  // Documents of today are archives, those of yesterday compound files, and so are mails of Outlook.
  if (seen === 'archive' && said.includes('office')) return 'office'
  if (seen === 'office' && said.includes('message')) return 'message'
  if (seen !== null && !(seen === 'text' && said.some((kind) => kind !== null))) return seen
  return first ?? second ?? 'other'
}

type Magic = readonly [offset: number, octets: string, kind: AttachmentKind]

/** Octets as Latin-1. */
const magics: readonly Magic[] = [
  [0, '\x7fELF', 'program'],
  [0, '\xfe\xed\xfa\xce', 'program'],
  [0, '\xfe\xed\xfa\xcf', 'program'],
  [0, '\xce\xfa\xed\xfe', 'program'],
  [0, '\xcf\xfa\xed\xfe', 'program'],
  [0, '\xca\xfe\xba\xbe', 'program'],
  [0, '#!', 'script'],
  [0, 'L\0\0\0\x01\x14\x02\0', 'script'],
  [0, '%PDF-', 'pdf'],
  [0, 'PK\x03\x04', 'archive'],
  [0, 'PK\x05\x06', 'archive'],
  [0, 'Rar!\x1a\x07', 'archive'],
  [0, "7z\xbc\xaf'\x1c", 'archive'],
  [0, '\x1f\x8b', 'archive'],
  [0, 'BZh', 'archive'],
  [0, '\xfd7zXZ\0', 'archive'],
  [0, '\x28\xb5\x2f\xfd', 'archive'],
  [0, 'MSCF', 'archive'],
  [0, '\x78\x9f\x3e\x22', 'archive'],
  [257, 'ustar', 'archive'],
  [0, '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'office'],
  [0, '{\\rtf', 'office'],
  [0, '\x89PNG\r\n', 'image'],
  [0, '\xff\xd8\xff', 'image'],
  [0, 'GIF8', 'image'],
  [8, 'WEBP', 'image'],
]

/** By the first octets; `text` if they are nothing known and might be text; null if they tell nothing. */
function kindByMagic(head: Uint8Array): AttachmentKind | null {
  const text = Buffer.from(head.buffer, head.byteOffset, head.length)
    .toString('latin1')
    .replace(/^\xef\xbb\xbf/, '')
  // A text may begin with these two letters.
  if (text.startsWith('MZ') && text.includes('\0')) return 'program'
  const found = magics.find(([offset, octets]) => text.startsWith(octets, offset))
  if (found !== undefined) return isOfficePackage(text) ? 'office' : found[2]
  return looksLikeText(head) ? 'text' : null
}

const MEMBER_NAME = 30

/** What Office and OpenDocument write first into their archives. */
function isOfficePackage(text: string): boolean {
  const firsts = ['[Content_Types].xml', '_rels/.rels', 'mimetypeapplication/vnd.oasis']
  return text.startsWith('PK\x03\x04') && firsts.some((first) => text.startsWith(first, MEMBER_NAME))
}

/** Whether these can be the first octets of a text. */
export function looksLikeText(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1')
  if (text === '') return false
  if (text.startsWith('\xff\xfe') || text.startsWith('\xfe\xff')) return true
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters that no text holds are looked for
  return !/[\x00-\x08\x0e-\x1a\x1c-\x1f]/.test(text)
}
