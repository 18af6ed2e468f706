import type { RecipientResult } from './courier.ts'
import type { Shipment, Voyage } from './delivery.ts'
import { wishesOf } from './dsn.ts'
import { EgressViolation } from './egress.ts'

/** One delivery under way. */
export type Flight = {
  readonly ended: Promise<readonly RecipientResult[]>
  /** Whether the content went out to its end: what came of it only the next hop can say then. */
  hasDotted(): boolean
  stop(): void
}

/** Begins it. `ended` never rejects. */
export function takeOff({ org, intake }: Pick<Voyage, 'org' | 'intake'>, shipment: Shipment): Flight {
  const { id, mail, recipients, tls, again = false } = shipment
  const giveUp = new AbortController()
  let dotted = false
  const mailboxes = recipients.map((recipient) => recipient.mailbox)
  const delivery = {
    ...{ envelope: id, sender: intake.sender?.mailbox ?? '', recipients: mailboxes, mail, signal: giveUp.signal },
    wishes: wishesOf(intake.wish, recipients),
    ...(tls === null ? {} : { tls }),
    again,
    onDot() {
      dotted = true
    },
  }
  const ended = org.courier.deliver(delivery).then(
    (report) => report.results,
    (error: unknown) => undelivered(mailboxes, error),
  )
  return { ended, hasDotted: () => dotted, stop: () => giveUp.abort() }
}

/** In the words of who ran out of time, not of the connection that was cut for it. */
export function tooLate(result: RecipientResult): RecipientResult {
  if (result.remote || result.outcome !== 'deferred') return result
  return { ...result, code: 451, enhanced: '4.4.1', text: 'the next hop took too long' }
}

/** `late` if the deadline passes while the answer to the content is awaited; what has not come so far is given up at the deadline. */
export async function inTime(flight: Flight, deadline: AbortSignal): Promise<'ended' | 'late'> {
  let passed = () => {}
  const late = new Promise<'late'>((resolve) => {
    passed = () => (flight.hasDotted() ? resolve('late') : flight.stop())
  })
  deadline.addEventListener('abort', passed)
  if (deadline.aborted) passed()
  try {
    return await Promise.race([flight.ended.then(() => 'ended' as const), late])
  } finally {
    deadline.removeEventListener('abort', passed)
  }
}

/** The mail's own stream failed, so nothing was delivered: the last look stopped it, or a file could not be read. */
function undelivered(recipients: readonly string[], error: unknown): readonly RecipientResult[] {
  const stopped = error instanceof EgressViolation
  return recipients.map((recipient) => ({
    recipient,
    outcome: stopped ? 'failed' : 'deferred',
    code: stopped ? 554 : 451,
    enhanced: stopped ? '5.6.0' : '4.3.0',
    text: stopped ? `stopped by the last look at what leaves, incident ${error.incident}` : 'something failed here',
    remote: false,
  }))
}
