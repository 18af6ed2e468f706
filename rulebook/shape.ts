import { Ajv, type ErrorObject } from 'ajv'
import schema from '../policies/policy.schema.json' with { type: 'json' }
import { clipped, plainOf, type Tree, treeAt } from './document.ts'
import type { Attachment, Label, OutboundFacts, RecipientTls } from './facts.ts'
import type { Spot } from './fault.ts'
import { nearest } from './nearest.ts'
import type { NoticeLanguage, OwnNotice } from './notice.ts'
import type { Carry } from './policy.ts'

const fits = new Ajv({
  allErrors: true,
  allowUnionTypes: true,
  verbose: true,
  strictRequired: false,
}).compile<PolicyFile>(schema)

/** A policy file that fits its schema. */
export type PolicyFile = {
  readonly version: 1
  readonly organization: string
  readonly domains: readonly string[]
  readonly groups?: Readonly<Record<string, readonly string[]>>
  readonly ttl: { readonly default: string; readonly cap: string }
  readonly sealing?: { readonly subject?: string; readonly carry?: Carry; readonly notice?: string | readonly string[] }
  readonly notices?: Readonly<Record<string, OwnNotice & { readonly language: NoticeLanguage }>>
  readonly outbound: readonly OutboundEntry[]
  readonly default: 'seal' | 'pass' | 'refuse'
  readonly release: readonly ReleaseEntry[]
  readonly tests: { readonly outbound: readonly OutboundTest[]; readonly release: readonly ReleaseTest[] }
}

type OutboundEntry = {
  readonly name: string
  readonly when: string | boolean
  readonly then: 'seal' | 'pass' | 'refuse' | 'hold'
  readonly observe?: boolean
  readonly ttl?: string
  readonly wish?: boolean
  readonly subject?: string
  readonly carry?: Carry
  readonly tls?: 'required'
  readonly notice?: string | readonly string[]
  readonly because?: string
  readonly within?: string
}

type ReleaseEntry = {
  readonly name: string
  readonly when: string | boolean
  readonly then: 'allow' | 'deny'
  readonly because?: string
}

export type OutboundTest = {
  readonly name: string
  readonly mail: MailCase
  readonly expect: 'seal' | 'pass' | 'refuse' | 'hold'
  readonly by?: string
  readonly ttl?: string
  readonly subject?: string
  readonly carry?: Carry
  readonly tls?: 'required'
  readonly notice?: string | readonly string[]
  readonly observed?: readonly string[]
}

export type MailCase = {
  readonly sender: string
  readonly to: string
  readonly from?: readonly string[]
  readonly subject?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly size?: number
  readonly attachments?: readonly (Pick<Attachment, 'name' | 'type'> & Partial<Attachment>)[]
  readonly labels?: readonly Partial<Label>[]
  readonly text?: string
  readonly textWhole?: boolean
  readonly scan?: Partial<OutboundFacts['message']['scan']>
  readonly report?: boolean
  readonly autoReply?: boolean
  readonly calendar?: string
  readonly list?: boolean
  readonly signed?: boolean
  readonly encrypted?: boolean
  readonly malformed?: boolean
  readonly wish?: string
  readonly recipientTls?: RecipientTls
  readonly client?: { readonly identity?: string; readonly ip?: string; readonly tls?: boolean }
}

export type ReleaseTest = {
  readonly name: string
  readonly open: OpenCase
  readonly expect: 'allow' | 'deny'
  readonly by?: string
}

export type OpenCase = {
  readonly person: string
  readonly role?: 'recipient' | 'sender'
  readonly sender?: string
  readonly age?: string
  readonly left?: string
  readonly rule?: string
  readonly ip?: string
  readonly hour?: number
  readonly weekday?: number
}

export type Shaped =
  | { readonly kind: 'shaped'; readonly file: PolicyFile }
  | { readonly kind: 'misshapen'; readonly spots: readonly Spot[] }

/** Holds a document against policies/policy.schema.json; every misfit at once, each with its place. */
export function shapeOf(tree: Tree): Shaped {
  const plain = plainOf(tree)
  if (fits(plain)) return { kind: 'shaped', file: plain }
  const errors = (fits.errors ?? []).filter(({ keyword }) => keyword !== 'if')
  return { kind: 'misshapen', spots: errors.map((error) => spotOf(tree, error)) }
}

function spotOf(tree: Tree, error: ErrorObject): Spot {
  const path = error.instancePath.split('/').slice(1).map(unescaped)
  const at = treeAt(tree, path)
  const name = path.at(-1) ?? 'the file'
  if (error.keyword === 'additionalProperties') return unknownField(at, error)
  if (error.keyword === 'required') {
    const missing = String(error.params.missingProperty)
    const hint = describe(error.parentSchema?.properties, missing) || `add ${missing}: ...`
    return { offset: at.offset, message: `'${missing}' is missing in ${place(path)}`, hint }
  }
  return { offset: at.offset, message: `'${name}' ${complaint(error)}`, hint: description(error) }
}

function unknownField(at: Tree, error: ErrorObject): Spot {
  const field = String(error.params.additionalProperty)
  const known = Object.keys(error.parentSchema?.properties ?? {})
  const close = nearest(field, known)
  const offset = at.kind === 'map' ? (at.entries.get(field)?.keyOffset ?? at.offset) : at.offset
  const hint = close ? `write '${close}'` : `known here: ${known.join(', ')}`
  return { offset, message: `unknown field '${clipped(field)}'`, hint }
}

function complaint(error: ErrorObject): string {
  const { keyword, params, data } = error
  const limit = String(params.limit)
  switch (keyword) {
    case 'enum': {
      const allowed = (params.allowedValues as readonly string[]).join(', ')
      return `is '${clipped(String(data))}'; it can be ${allowed}`
    }
    case 'const':
      return `is '${clipped(String(data))}'; it can only be ${String(params.allowedValue)}`
    case 'type':
      return `is ${kindOf(data)} where ${String(params.type)} is expected`
    case 'not':
      return `is '${clipped(String(data))}', which is taken: it names the verdict that no rule took`
    case 'pattern':
      return `is '${clipped(String(data))}', which does not have the form that is expected`
    case 'maxLength':
      return `is longer than ${limit} characters`
    case 'minLength':
      return 'is empty'
    case 'maxItems':
    case 'maxProperties':
      return `has more than ${limit} entries`
    case 'minItems':
      return `needs at least ${limit} entry`
    case 'minimum':
      return `is less than ${limit}`
    case 'maximum':
      return `is more than ${limit}`
    default:
      return error.message ?? 'does not fit'
  }
}

function kindOf(data: unknown): string {
  if (data === null) return 'empty'
  if (Array.isArray(data)) return 'a list'
  return typeof data === 'object' ? 'a group of fields' : `a ${typeof data}`
}

/** What the schema says about the field that the error is in. */
function description(error: ErrorObject): string {
  const own = error.parentSchema?.description
  if (error.keyword === 'enum') {
    const close = nearest(String(error.data), error.params.allowedValues as readonly string[])
    if (close) return `write '${close}'`
  }
  return typeof own === 'string' ? own : 'see policies/README.md'
}

function describe(properties: unknown, field: string): string {
  if (typeof properties !== 'object' || properties === null) return ''
  const entry = (properties as Readonly<Record<string, { description?: string; $ref?: string }>>)[field]
  const said = entry?.description ?? definition(entry?.$ref)
  return said ? `add ${field}: ... - ${said}` : ''
}

function definition(reference: string | undefined): string | undefined {
  const definitions: Readonly<Record<string, { description?: string }>> = schema.definitions
  return definitions[reference?.split('/').at(-1) ?? '']?.description
}

function place(path: readonly string[]): string {
  const [list, index] = path.slice(-2)
  if (path.length === 0) return 'the file'
  return index !== undefined && /^\d+$/.test(index) ? `entry ${Number(index) + 1} of '${list}'` : `'${path.at(-1)}'`
}

function unescaped(step: string): string {
  return step.replaceAll('~1', '/').replaceAll('~0', '~')
}
