import { canonicalOctets, type Json, parseCanonical } from './canonical.ts'
import {
  count,
  type Field,
  type Fields,
  hasExactly,
  id16,
  matching,
  orNull,
  type Person,
  sha256,
  time,
} from './fields.ts'
import { type AuditRecord, isKind, type Kind, kinds, MAX_RECIPIENTS } from './kinds.ts'

/** The largest leaf, octets: C2SP tlog-tiles entries carry a 16-bit length. */
export const MAX_LEAF = 65_535

/**
 * What a leaf adds to its record: `v` the version of the format, `index` its own place in the log (so that a leaf that was moved says so
 * itself), `side` the SHA-256 of its side-car, or null where it has none.
 */
export type Leaf = { readonly v: 1; readonly index: number; readonly side: string | null; readonly record: AuditRecord }

export type Decoded =
  | { readonly kind: 'leaf'; readonly leaf: Leaf }
  | { readonly kind: 'refused'; readonly reason: string }

const one: Field<1> = (value): value is 1 => value === 1
const leafFields = { v: one, index: count, side: orNull(sha256), kind: matching(/^/), time, request: orNull(id16) }

/**
 * The octets of a leaf: canonical JSON (members sorted, no white space, UTF-8), one flat object. Throws a RangeError where they would be
 * more than {@link MAX_LEAF}, or where the record does not fit its kind: what is written can always be read again.
 */
export function encodeLeaf(record: AuditRecord, index: number, side: string | null): Uint8Array {
  const { kind, ...fields } = record
  const octets = canonicalOctets({ ...(fields as Readonly<Record<string, Json>>), kind, v: 1, index, side })
  if (octets.length > MAX_LEAF) throw new RangeError(`a ${kind} record of ${octets.length} octets does not fit a leaf`)
  const fault = faultOf({ ...record, v: 1, index, side })
  if (fault !== null) throw new RangeError(`not a record: ${fault}`)
  return octets
}

/** Reads a leaf strictly: canonical octets, a known kind, exactly its fields, each within its bounds. */
export function decodeLeaf(octets: Uint8Array): Decoded {
  if (octets.length > MAX_LEAF) return { kind: 'refused', reason: `it has more than ${MAX_LEAF} octets` }
  const parsed = parseCanonical(octets)
  if (parsed === null) return { kind: 'refused', reason: 'it is not canonical JSON' }
  const fault = faultOf(parsed.value)
  if (fault !== null) return { kind: 'refused', reason: fault }
  // faultOf has checked every member against the table that these types come from.
  const { v: _, index, side, ...record } = parsed.value as unknown as AuditRecord & Omit<Leaf, 'record'>
  return { kind: 'leaf', leaf: { v: 1, index, side, record: record as unknown as AuditRecord } }
}

/** The envelope that a record is about, or null. */
export function envelopeOf(record: AuditRecord): string | null {
  return 'envelope' in record ? record.envelope : null
}

/** One record whose recipients are too many for a leaf, as several; any other as it is. The sender's own copies come first. */
export function splitRecord(record: AuditRecord): readonly AuditRecord[] {
  if (!('recipients' in record) || record.recipients.length <= MAX_RECIPIENTS) return [record]
  const sender = 'sender' in record ? record.sender?.pseudonym : undefined
  const ordered = record.recipients.toSorted((a, b) => Number(b.pseudonym === sender) - Number(a.pseudonym === sender))
  const of = Math.ceil(ordered.length / MAX_RECIPIENTS)
  return Array.from({ length: of }, (_, i) => ({
    ...record,
    recipients: ordered.slice(i * MAX_RECIPIENTS, (i + 1) * MAX_RECIPIENTS),
    part: { number: i + 1, of },
  }))
}

/** Every person that a record names, by pseudonym; with repetitions. */
export function personsOf(record: AuditRecord): readonly string[] {
  const persons: (Person | null)[] = []
  if ('person' in record) persons.push(record.person)
  if ('recipient' in record) persons.push(record.recipient)
  if ('sender' in record) persons.push(record.sender)
  if ('recipients' in record) persons.push(...record.recipients)
  if ('by' in record && typeof record.by !== 'string') persons.push(record.by.person)
  const names = persons.flatMap((person) => (person === null ? [] : [person.pseudonym]))
  return 'pseudonym' in record && record.pseudonym !== null ? [...names, record.pseudonym] : names
}

function faultOf(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return 'it is not an object'
  const { kind } = value as { readonly kind?: unknown }
  if (!isKind(kind)) return 'its kind is not known'
  const shape = shapes.get(kind)
  return shape !== undefined && hasExactly(value, shape)
    ? null
    : `a field of ${kind} is missing, unknown or out of bounds`
}

const shapes: ReadonlyMap<Kind, Fields> = new Map(
  Object.entries(kinds).map(([kind, fields]) => [kind as Kind, { ...leafFields, ...fields }]),
)
