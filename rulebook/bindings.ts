import type { OutboundFacts, ReleaseFacts } from './facts.ts'
import { type Groups, groupsOf } from './groups.ts'
import { TextAnswers } from './text-answers.ts'

/** The values of a condition's variables by their whole names, each made only when it is asked for. */
export type Bindings = object

/**
 * The variables of one mail and one recipient. Getters, so that a header map is converted only if a rule reads it, and then once.
 */
export function outboundBindings(facts: OutboundFacts, groups: Groups = new Map()): RecipientBindings {
  return new OutboundBindings(facts, groups)
}

/** `readTls`: whether a condition has asked for the recipient's TLS so far. */
export type RecipientBindings = Bindings & { readTls: boolean }

/** The variables of one attempt to open. */
export function releaseBindings(facts: ReleaseFacts): Bindings {
  return new ReleaseBindings(facts)
}

class OutboundBindings {
  readonly #facts: OutboundFacts
  readonly #groups: Groups
  readTls = false
  #headers: ReadonlyMap<string, readonly string[]> | null = null
  #attachments: readonly object[] | null = null

  constructor(facts: OutboundFacts, groups: Groups) {
    this.#facts = facts
    this.#groups = groups
  }

  get 'message.sender'() {
    return this.#facts.message.sender
  }
  get 'message.senderDomain'() {
    return this.#facts.message.senderDomain
  }
  get 'message.from'() {
    return this.#facts.message.from
  }
  get 'message.foreignFrom'() {
    return this.#facts.message.foreignFrom
  }
  get 'message.subject'() {
    return this.#facts.message.subject
  }
  get 'message.tags'() {
    return this.#facts.message.tags
  }
  get 'message.headers'() {
    this.#headers ??= new Map(Object.entries(this.#facts.message.headers))
    return this.#headers
  }
  get 'message.size'() {
    return BigInt(this.#facts.message.size)
  }
  get 'message.attachments'() {
    this.#attachments ??= this.#facts.message.attachments.map((one) => ({ ...one, size: BigInt(one.size) }))
    return this.#attachments
  }
  get 'message.labels'() {
    return this.#facts.message.labels
  }
  get 'message.text'() {
    return new TextAnswers(this.#facts.message.text)
  }
  get 'message.textWhole'() {
    return this.#facts.message.textWhole
  }
  get 'message.cardNumbers'() {
    return BigInt(this.#facts.message.text.cardNumbers)
  }
  get 'message.ibans'() {
    return BigInt(this.#facts.message.text.ibans)
  }
  get 'message.scan.verdict'() {
    return this.#facts.message.scan.verdict
  }
  get 'message.scan.name'() {
    return this.#facts.message.scan.name
  }
  get 'message.nullSender'() {
    return this.#facts.message.nullSender
  }
  get 'message.report'() {
    return this.#facts.message.report
  }
  get 'message.autoReply'() {
    return this.#facts.message.autoReply
  }
  get 'message.calendar'() {
    return this.#facts.message.calendar
  }
  get 'message.list'() {
    return this.#facts.message.list
  }
  get 'message.signed'() {
    return this.#facts.message.signed
  }
  get 'message.encrypted'() {
    return this.#facts.message.encrypted
  }
  get 'message.malformed'() {
    return this.#facts.message.malformed
  }
  get 'message.ttlWish'() {
    return BigInt(this.#facts.message.ttlWish)
  }
  get 'message.senderGroups'() {
    return groupsOf(this.#groups, this.#facts.message.sender)
  }
  get 'recipient.address'() {
    return this.#facts.recipient.address
  }
  get 'recipient.domain'() {
    return this.#facts.recipient.domain
  }
  get 'recipient.internal'() {
    return this.#facts.recipient.internal
  }
  get 'recipient.groups'() {
    return groupsOf(this.#groups, this.#facts.recipient.address)
  }
  get 'recipient.tls'() {
    this.readTls = true
    return this.#facts.recipient.tls
  }
  get 'client.identity'() {
    return this.#facts.client.identity
  }
  get 'client.ip'() {
    return this.#facts.client.ip
  }
  get 'client.tls'() {
    return this.#facts.client.tls
  }
}

class ReleaseBindings {
  readonly #facts: ReleaseFacts

  constructor(facts: ReleaseFacts) {
    this.#facts = facts
  }

  get 'person.address'() {
    return this.#facts.person.address
  }
  get 'person.domain'() {
    return this.#facts.person.domain
  }
  get 'person.internal'() {
    return this.#facts.person.internal
  }
  get 'person.role'() {
    return this.#facts.person.role
  }
  get 'envelope.sender'() {
    return this.#facts.envelope.sender
  }
  get 'envelope.ageSeconds'() {
    return BigInt(Math.floor(this.#facts.envelope.ageSeconds))
  }
  get 'envelope.secondsLeft'() {
    return BigInt(Math.floor(this.#facts.envelope.secondsLeft))
  }
  get 'envelope.rule'() {
    return this.#facts.envelope.rule
  }
  get 'request.ip'() {
    return this.#facts.request.ip
  }
  get 'request.proof'() {
    return this.#facts.request.proof
  }
  get 'request.hour'() {
    return BigInt(this.#facts.request.hour)
  }
  get 'request.weekday'() {
    return BigInt(this.#facts.request.weekday)
  }
}
