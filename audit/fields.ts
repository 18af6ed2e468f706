/** A check of one field of a record: true exactly for the values that the field may hold. */
export type Field<T> = (value: unknown) => value is T
export type ValueOf<F> = F extends Field<infer T> ? T : never

/** The fields of one kind of record, all of them required; what may be absent in fact is null. */
export type Fields = { readonly [name: string]: Field<unknown> }
export type Shape<S extends Fields> = { readonly [K in keyof S]: ValueOf<S[K]> }

/** A person in a leaf: a random pseudonym (16 octets, base64url) and a commitment to the address; see `personal`. */
export type Person = { readonly pseudonym: string; readonly address: string }

/** A text of at most `max` UTF-16 code units. */
export const text =
  (max: number): Field<string> =>
  (value): value is string =>
    typeof value === 'string' && value.length <= max && value.isWellFormed()

export const matching =
  (pattern: RegExp): Field<string> =>
  (value): value is string =>
    typeof value === 'string' && pattern.test(value)

export const oneOf =
  <const T extends string>(...values: readonly T[]): Field<T> =>
  (value): value is T =>
    (values as readonly unknown[]).includes(value)

export const orNull =
  <T>(field: Field<T>): Field<T | null> =>
  (value): value is T | null =>
    value === null || field(value)

export const listOf =
  <T>(field: Field<T>, max: number): Field<readonly T[]> =>
  (value): value is readonly T[] =>
    Array.isArray(value) && value.length <= max && value.every(field)

/** An object with exactly these members. */
export const object =
  <const S extends Fields>(shape: S): Field<Shape<S>> =>
  (value): value is Shape<S> =>
    hasExactly(value, shape)

/** A whole number from 0. */
export const count: Field<number> = (value): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** 16 octets, base64url: envelope ids, pseudonyms, request and incident ids. */
export const id16 = matching(/^[A-Za-z0-9_-]{21}[AQgw]$/)

/** SHA-256, base64url: digests, and commitments to personal values. */
export const sha256 = matching(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/)

/** SHA-256, hexadecimal: policy texts. */
export const hex256 = matching(/^[0-9a-f]{64}$/)

/** RFC 3339 in UTC with milliseconds, as `Date.prototype.toISOString` writes the years 1970 to 9999. */
export const time: Field<string> = (value): value is string =>
  typeof value === 'string' &&
  /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) &&
  !Number.isNaN(Date.parse(value)) &&
  new Date(value).toISOString() === value

/** A name from configuration or a policy file: rules, gateways, officers, codes. */
export const name = text(128)

/** Words for people: reasons given, faults found. */
export const words = text(1024)

export const person: Field<Person> = object({ pseudonym: id16, address: sha256 })

/** Whether `value` is an object with exactly the members of `shape`, each as its check wants it. */
export function hasExactly(value: unknown, shape: Fields): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const members = value as Readonly<Record<string, unknown>>
  const names = Object.keys(shape)
  if (Object.keys(members).length !== names.length) return false
  for (const member of names) {
    const check = shape[member]
    if (check === undefined || !Object.hasOwn(members, member) || !check(members[member])) return false
  }
  return true
}
