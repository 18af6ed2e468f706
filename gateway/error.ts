/** What the client is told at the end of a command: one line. */
export type Answer = {
  readonly code: number
  /** RFC 3463. */
  readonly status: string
  readonly text: string
}

type Row = readonly [code: number, status: string, text: string]

/** Every way in which the gateway says no, with its reply. Whether it is permanent is decided here and nowhere else. */
const answers = {
  'not-proven': [
    550,
    '5.7.1',
    'this client has not proven that it may send for an organization here; relaying refused',
  ],
  'foreign-sender': [550, '5.7.1', 'MAIL FROM is not in the domains of the organization that this client may send for'],
  'which-organization': [
    550,
    '5.7.1',
    'this client may send for several organizations and MAIL FROM:<> does not say for which',
  ],
  'tenant-secret': [550, '5.7.1', 'the organization is not proven: the message does not carry its tenant secret'],
  'refused-by-rule': [550, '5.7.1', 'refused by a rule of the organization'],
  infected: [554, '5.7.0', 'a scanner found something harmful in the message'],
  'not-scanned': [552, '5.3.4', 'the message is larger than what the scanner of this server looks at'],
  scanner: [451, '4.3.0', 'the scanner cannot answer now; nothing was sent, try again'],
  'bare-newline': [550, '5.5.2', 'the message holds a bare CR or LF'],
  'too-large': [552, '5.3.4', 'the message is larger than this server takes'],
  'header-too-large': [552, '5.3.4', 'the header of the message is larger than this server takes'],
  'too-many-hops': [554, '5.4.6', 'too many Received fields: this message is going in a circle'],
  'came-back': [
    554,
    '5.4.6',
    'this mail was sent to these recipients from here before, and has come back: the provider lacks the exception for mail from the gateway. ' +
      "Microsoft 365: first transport rule: from the gateway's address, and Sealpost-Handled matches the loop secret: remove it, stop. " +
      'Google: the same two as conditions of the rule that routes. Others: docs/guides',
  ],
  'unknown-parameter': [555, '5.5.4', 'unknown MAIL or RCPT parameter'],
  'bad-sender': [501, '5.1.7', 'MAIL FROM is not an address that can be handled'],
  'bad-recipient': [501, '5.1.3', 'RCPT TO is not an address that can be handled'],
  'needs-smtputf8': [553, '5.6.7', 'the address needs SMTPUTF8, which was not asked for'],
  'next-hop-smtputf8': [553, '5.6.7', 'the address needs SMTPUTF8, which the next hop does not offer'],
  'require-tls': [550, '5.7.30', 'REQUIRETLS is asked for, and the next hop does not promise it'],
  egress: [554, '5.6.0', 'the message was stopped by the last look at what leaves'],
  'key-server': [451, '4.3.0', 'the key server cannot answer now; nothing was sent, try again'],
  policy: [451, '4.3.0', 'the policy of the organization is not known yet; nothing was sent, try again'],
  busy: [451, '4.3.0', 'another attempt to send this message is under way; try again'],
  'disk-full': [452, '4.3.1', 'there is no room to keep the message now; nothing was sent, try again'],
  provider: [451, '4.4.1', 'the next hop cannot take the message now; try again'],
  'out-of-time': [451, '4.4.7', 'this took too long; try again'],
  'too-slow': [421, '4.4.2', 'the message took too long to come in, closing the connection'],
  'sign-in-later': [454, '4.7.0', 'the provider cannot be asked now whether this is the right password; try again'],
  'too-many-messages': [450, '4.7.1', 'too many messages for now; try again in a minute'],
  'too-many-octets': [452, '4.3.1', 'too much mail for now; try again in a minute'],
  'too-many-recipients': [452, '4.5.3', 'too many recipients for now; try again in a minute'],
  'cut-off': [451, '4.4.2', 'the message did not come in whole; try again'],
  internal: [451, '4.3.0', 'something failed here; try again'],
} as const satisfies Record<string, Row>

export type GatewayErrorCode = keyof typeof answers

/** All of them. */
export const gatewayErrorCodes = Object.keys(answers) as readonly GatewayErrorCode[]

/** The one error of this process. `cause` and `message` are for the log; {@link answerTo} is what the client reads. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: GatewayErrorCode
  /** Public words instead of the usual ones: a rule's own sentence, the place of a fault. */
  readonly words: string | null

  constructor(code: GatewayErrorCode, options: { words?: string; message?: string; cause?: unknown } = {}) {
    super(options.message ?? options.words ?? answers[code][2], { cause: options.cause })
    this.code = code
    this.words = options.words ?? null
  }
}

const NO_ROOM: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'SQLITE_FULL'])

/** The same, or `disk-full` where it says that a disk or a quota has no room left. */
export function orDiskFull(error: unknown): unknown {
  const isFull = error instanceof Error && 'code' in error && NO_ROOM.has(error.code)
  return isFull ? new GatewayError('disk-full', { cause: error }) : error
}

/** What the client is told; `incident` names the log entry that holds the cause. An error of unknown kind is `internal`. */
export function answerTo(error: unknown, incident: string | null): Answer {
  const known = error instanceof GatewayError ? error : new GatewayError('internal')
  const [code, status, text] = answers[known.code]
  return { code, status, text: withIncident(known.words ?? text, incident) }
}

/** The words with the incident's id behind them. */
export function withIncident(text: string, incident: string | null): string {
  return incident === null ? text : `${text} (incident ${incident})`
}
