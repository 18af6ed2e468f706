import { BOOL, INT, type Kind, listOf, TEXT } from './kind.ts'

/** A function of conditions: what it is called on, what it takes, what it gives. */
export type Signature = {
  readonly on: readonly Kind['is'][]
  readonly takes: readonly Kind[]
  readonly gives: Kind
  readonly example: string
}

/** `value.name(...)` */
export const methods: Readonly<Record<string, Signature>> = {
  contains: { on: ['text', 'content'], takes: [TEXT], gives: BOOL, example: "message.subject.contains('offer')" },
  startsWith: { on: ['text'], takes: [TEXT], gives: BOOL, example: "message.subject.startsWith('Re:')" },
  endsWith: { on: ['text'], takes: [TEXT], gives: BOOL, example: "recipient.address.endsWith('@example.org')" },
  matches: { on: ['text', 'content'], takes: [TEXT], gives: BOOL, example: "message.subject.matches('[0-9]{6}')" },
  lowerAscii: { on: ['text'], takes: [], gives: TEXT, example: "message.subject.lowerAscii().contains('offer')" },
  trim: { on: ['text'], takes: [], gives: TEXT, example: "message.subject.trim() == ''" },
  size: { on: ['text', 'list', 'map'], takes: [], gives: INT, example: 'message.attachments.size() > 0' },
  get: {
    on: ['map'],
    takes: [TEXT],
    gives: listOf(TEXT),
    example: "message.headers.get('Sensitivity').exists(v, v == 'Private')",
  },
}

/** `name(...)` */
export const plainFunctions: Readonly<Record<string, Signature>> = {
  inDomain: { on: [], takes: [TEXT, TEXT], gives: BOOL, example: "inDomain(recipient.domain, 'example.org')" },
}

/** `list.name(x, ...)`, which the parser turns into loops. */
export const loops = ['exists', 'all', 'exists_one', 'filter', 'map'] as const
