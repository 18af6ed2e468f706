import { domainToASCII } from 'node:url'

declare const brand: unique symbol
type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** An organization's id: a lower-case DNS name such as `acme.example`; also the stem of its policy file. */
export type OrgId = Branded<string, 'OrgId'>

/** An envelope's id: 16 random octets, base64url without padding, 22 characters. */
export type EnvelopeId = Branded<string, 'EnvelopeId'>

/** An address in the one form in which addresses are compared and stored: see {@link parseAddress}. */
export type Address = Branded<string, 'Address'>

const ORG_ID = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/
const ENVELOPE_ID = /^[A-Za-z0-9_-]{21}[AQgw]$/

/** Patterns for JSON Schema; the same languages that the parse functions accept. */
export const patterns = {
  orgId: ORG_ID.source,
  envelopeId: ENVELOPE_ID.source,
  base64url: '^[A-Za-z0-9_-]*$',
  sha256: '^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$',
} as const

/** The organization id in `text`, or null if it is not one. */
export function parseOrgId(text: string): OrgId | null {
  return ORG_ID.test(text) ? (text as OrgId) : null
}

/** The envelope id in `text`, or null if it is not one (the last character must carry no stray bits). */
export function parseEnvelopeId(text: string): EnvelopeId | null {
  return ENVELOPE_ID.test(text) ? (text as EnvelopeId) : null
}

/**
 * The address in `text` in its one comparable form: domain as A-labels (UTS 46) in lower case, ASCII letters of the local
 * part in lower case, a quoted local part without quotes where it needs none (RFC 5321 4.1.2), all else as given. Null if it
 * is not `local@domain`, is longer than 320 characters, or holds a control character. Two addresses are the same person exactly if their parsed forms are the same string.
 */
export function parseAddress(text: string): Address | null {
  const at = text.lastIndexOf('@')
  if (at < 1 || text.length > 320 || hasControl(text)) return null
  const domain = text.slice(at + 1)
  const ascii = domain.startsWith('[') ? domain.toLowerCase() : domainToASCII(domain.replace(/\.$/, ''))
  if (ascii === '') return null
  const local = plainLocal(text.slice(0, at)).replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return `${local}@${ascii}` as Address
}

const QUOTED_LOCAL = /^"((?:[^"\\]|\\.)*)"$/
const DOT_ATOM = /^[^\s"(),.:;<>@[\\\]]+(?:\.[^\s"(),.:;<>@[\\\]]+)*$/

/** `"anna"` and `"an\na"` are anna to whoever delivers; so they are to our rules. */
function plainLocal(local: string): string {
  const [, quoted] = QUOTED_LOCAL.exec(local) ?? []
  if (quoted === undefined) return local
  const said = quoted.replace(/\\(.)/g, '$1')
  return DOT_ATOM.test(said) ? said : `"${said.replace(/["\\]/g, '\\$&')}"`
}

/** The domain of an address, as A-labels. */
export function domainOf(address: Address): string {
  return address.slice(address.lastIndexOf('@') + 1)
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}
