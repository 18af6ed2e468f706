import type { PassParts, SealedParts } from './compose.ts'
import type { OutgoingMail } from './courier.ts'

/** What was found about to leave that may not. Answered 554 5.6.0 with the incident; nothing was delivered. */
export class EgressViolation extends Error {
  override readonly name = 'EgressViolation'
  readonly incident: string
  /** Which check failed; for the log, never with the octets themselves. */
  readonly check: string

  constructor(incident: string, check: string) {
    super(`the last look at an outgoing mail failed: ${check} (incident ${incident})`)
    this.incident = incident
    this.check = check
  }
}

/**
 * The last look. Each function gives the same mail back with its stream under watch: an octet that is neither a kept field, nor template
 * text with its slots, nor base64 of exactly the sealed copy makes the stream throw {@link EgressViolation} before it is passed on.
 */
export type Egress = {
  sealed(mail: OutgoingMail, parts: SealedParts): OutgoingMail
  passed(mail: OutgoingMail, parts: PassParts): OutgoingMail
}

export type EgressParts = {
  /** Told of every violation, once: log it and count it. */
  readonly alarm: (violation: EgressViolation) => void
}
