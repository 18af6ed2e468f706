import type { CopyState } from '../protocol/gateway-api.ts'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { answerLine, type RecipientResult } from './courier.ts'
import { type Answer, answerTo, GatewayError, withIncident } from './error.ts'
import type { IntakeRecipient } from './intake.ts'

/** One recipient whom the next hop refused for good, and whose outcome is not recorded before the sender knows of it. */
export type Failed = { readonly id: EnvelopeId; readonly recipient: IntakeRecipient; readonly result: RecipientResult }

/** What has become of a message's recipients so far, in this attempt and in earlier ones. */
export type Tally = {
  /** Sent now. */
  readonly sent: { readonly id: EnvelopeId; readonly result: RecipientResult }[]
  readonly failed: Failed[]
  readonly deferred: RecipientResult[]
  /** Envelopes of recipients who had their copy before. */
  readonly sentBefore: EnvelopeId[]
  /** Envelopes of recipients whose copy lies in our spool, since now or before. */
  readonly spooled: EnvelopeId[]
  /** Envelopes of recipients whose copy waits for an officer, since now or before. */
  readonly held: EnvelopeId[]
  /** Recipients refused, and bounced, before. */
  failedBefore: number
  busy: number
}

export function emptyTally(): Tally {
  return { sent: [], failed: [], deferred: [], sentBefore: [], spooled: [], held: [], failedBefore: 0, busy: 0 }
}

/** Notes a recipient whose copy the key server knows, and maybe our spool; true if there is something to deliver. */
export function noteState(tally: Tally, id: EnvelopeId, state: CopyState, spooled = false): boolean {
  if (spooled && state !== 'sent' && state !== 'failed') {
    tally.spooled.push(id)
    return false
  }
  switch (state) {
    case 'open':
    case 'unknown':
      return true
    case 'sent':
      tally.sentBefore.push(id)
      return false
    case 'failed':
      tally.failedBefore += 1
      return false
    case 'held':
      tally.held.push(id)
      return false
    case 'busy':
      tally.busy += 1
      return false
  }
}

/** How a message ends: whom the sender must hear of, and what the client is told. */
export type Settlement =
  /** Something is left to do: the client tries again. Those refused for good are tried again with the rest. */
  | { readonly kind: 'again'; readonly answer: Answer }
  /** Nobody took it: the next hop's reply is the client's, who tells the sender. */
  | { readonly kind: 'refused'; readonly answer: Answer }
  /** Everybody has it, or will get it from the spool, or will be named in a bounce. */
  | { readonly kind: 'done'; readonly answer: Answer; readonly bounce: boolean }

/** Pure. `incident` names the log entry of this message. */
export function settle(tally: Tally, incident: string): Settlement {
  const [late] = tally.deferred
  if (late !== undefined) return { kind: 'again', answer: deferredAnswer(late, incident) }
  if (tally.busy > 0) return { kind: 'again', answer: answerTo(new GatewayError('busy'), incident) }
  const [refused] = tally.failed
  const accepted = tally.sent.length + tally.sentBefore.length + tally.spooled.length + tally.held.length
  if (accepted === 0) return { kind: 'refused', answer: refusedAnswer(refused?.result, incident) }
  return { kind: 'done', answer: acceptedAnswer(tally), bounce: refused !== undefined }
}

function deferredAnswer(result: RecipientResult, incident: string): Answer {
  const status = result.enhanced.startsWith('4.') ? result.enhanced : '4.4.1'
  const said = result.remote ? `next hop: ${result.code} ${result.text}` : result.text
  return { code: 451, status, text: withIncident(short(said), incident) }
}

function refusedAnswer(result: RecipientResult | undefined, incident: string): Answer {
  if (result === undefined) {
    const text = 'the next hop refused every recipient in an earlier attempt, or an officer sent the message back'
    return { code: 550, status: '5.0.0', text: withIncident(text, incident) }
  }
  const status = result.enhanced.startsWith('5.') ? result.enhanced : '5.0.0'
  const code = result.code >= 500 && result.code < 600 ? result.code : 550
  return { code, status, text: withIncident(short(result.text), incident) }
}

function acceptedAnswer(tally: Tally): Answer {
  const { sent, spooled, sentBefore, held } = tally
  const ids = [...new Set([...sent.map((one) => one.id), ...spooled, ...sentBefore, ...held])]
  const said = [...deliveryWords(tally), ...heldWords(held)].join('; ')
  const more = ids.length > 1 ? ` and ${ids.length - 1} more` : ''
  return { code: 250, status: '2.0.0', text: short(`envelope ${ids[0]}${more}; ${said}`) }
}

function deliveryWords({ sent, spooled, sentBefore }: Tally): string[] {
  const [last] = sent.slice(-1)
  if (last !== undefined) return [`next hop: ${answerLine(last.result)}`]
  if (spooled.length > 0) return ['kept here, delivery goes on']
  return sentBefore.length > 0 ? ['sent in an earlier attempt'] : []
}

function heldWords(held: readonly EnvelopeId[]): string[] {
  const ids = [...new Set(held)]
  return ids.length === 0 ? [] : [`held until an officer decides: ${ids.join(', ')}`]
}

/** RFC 5321 4.5.3.1.5 grants a reply line 512 octets. */
function short(text: string): string {
  return text.slice(0, 380)
}
