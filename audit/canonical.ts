export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined }

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The one JSON text of a value: members sorted by UTF-16 code unit, no white space, strings and numbers as ECMAScript writes
 * them (RFC 8785 for the values that records use). Members that are undefined are left out. Throws on a number that is no safe integer.
 */
export function canonicalText(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return JSON.stringify(value.toWellFormed())
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) throw new RangeError(`not a safe integer: ${value}`)
    return String(value)
  }
  if (isList(value)) return `[${value.map(canonicalText).join(',')}]`
  return objectText(value)
}

/** {@link canonicalText} as UTF-8. */
export function canonicalOctets(value: Json): Uint8Array {
  return encoder.encode(canonicalText(value))
}

/** The value in `octets`, or null unless they are exactly what {@link canonicalOctets} writes: one text for one value. */
export function parseCanonical(octets: Uint8Array): { readonly value: Json } | null {
  try {
    const text = decoder.decode(octets)
    const value = JSON.parse(text) as Json
    return canonicalText(value) === text ? { value } : null
  } catch {
    return null // Not UTF-8, not JSON, or a number outside the format: all of it is "not a record".
  }
}

function objectText(value: { readonly [name: string]: Json | undefined }): string {
  let text = ''
  for (const name of Object.keys(value).sort()) {
    const member = value[name]
    if (member === undefined) continue
    text += `${text === '' ? '{' : ','}${JSON.stringify(name)}:${canonicalText(member)}`
  }
  return text === '' ? '{}' : `${text}}`
}

function isList(value: readonly Json[] | { readonly [name: string]: Json | undefined }): value is readonly Json[] {
  return Array.isArray(value)
}
