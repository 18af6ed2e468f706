import type { DkimKey } from './dkim-key.ts'

/** The fields that are signed where they are there: what a person sees, and what says how to read the body. */
export const signedFields: readonly string[] = [
  ...['From', 'Sender', 'Reply-To', 'To', 'Cc', 'Subject', 'Date', 'Message-ID', 'In-Reply-To', 'References'],
  ...['MIME-Version', 'Content-Type', 'Content-Transfer-Encoding', 'Auto-Submitted'],
  ...['List-Id', 'List-Unsubscribe', 'List-Unsubscribe-Post', 'List-Post'],
]

/** One tag, with the folding white space that may stand around it. */
const TAG = /^(?:\r\n)?[ \t]*([a-z]+)=([\s\S]*)$/
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/
/** Octets. A mail may bear many fields of one signed name. */
const LONGEST = 16_384

/**
 * The last look at our own DKIM-Signature fields, one a key, in any order and each with its CRLF: what is wrong with them, null if nothing
 * is. Each tag has a grammar of its own here, so that no octet of the mail can leave in one; it shares no code with what writes them.
 */
export function signatureFault(signatures: string, keys: readonly DkimKey[]): string | null {
  if (signatures.length > LONGEST * keys.length) return 'a signature is too long'
  const fields = signatures.split(/(?<=\r\n)(?![ \t])/)
  if (fields.length !== keys.length) return 'there is not one signature a key'
  const left = new Set(keys)
  for (const field of fields) {
    const fault = lineFault(field)
    if (fault !== null) return fault
    const key = [...left].find((one) => isOf(field, one))
    if (key === undefined) return 'a signature is not of the form that ours have'
    left.delete(key)
  }
  return null
}

function lineFault(field: string): string | null {
  if (!field.endsWith('\r\n')) return 'a signature has no end'
  for (const line of field.slice(0, -2).split('\r\n')) {
    if (line.length > 998) return 'a line of a signature is too long'
    if (line.trim() === '' || /[^\t\x20-\x7e]/.test(line)) return 'a signature holds what no field may hold'
  }
  return null
}

function isOf(field: string, key: DkimKey): boolean {
  const name = 'DKIM-Signature: '
  if (!field.startsWith(name)) return false
  const grammar: Readonly<Record<string, (value: string) => boolean>> = {
    v: (value) => value === '1',
    a: (value) => value === 'rsa-sha256' || value === 'ed25519-sha256',
    c: (value) => value === 'relaxed/relaxed',
    d: (value) => value === key.domain,
    s: (value) => value === key.selector,
    q: (value) => value === 'dns/txt',
    t: (value) => /^\d{1,12}$/.test(value),
    h: (value) => value.split(':').every((one) => known.has(one.toLowerCase())),
    bh: (value) => BASE64.test(value) && value.length === 44,
    b: (value) => BASE64.test(value),
  }
  const seen = new Set<string>()
  for (const tag of field.slice(name.length, -2).split(';')) {
    const [, title = '', value = ''] = TAG.exec(tag) ?? []
    const fits = Object.hasOwn(grammar, title) && grammar[title]?.(value.replace(/\s+/g, ''))
    if (!fits || seen.has(title)) return false
    seen.add(title)
  }
  return seen.size === Object.keys(grammar).length
}

const known: ReadonlySet<string> = new Set(signedFields.map((name) => name.toLowerCase()))
