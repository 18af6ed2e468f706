import nodemailer from 'nodemailer'
import type { SystemMessage } from './code-mail.ts'

/** Where the mails of the key server go, and how: the provider, or a gateway. */
export type MailRoute = {
  readonly host: string
  readonly port: number
  /** `starttls` and `tls` verify the name against `ca` (PEM, null for the system's); `none` is plain, for loopback. */
  readonly security: 'none' | 'starttls' | 'tls'
  readonly ca: string | null
  readonly user: string | null
  readonly password: string | null
}

/** `sent`: the provider took it. `failed`: it refused it for good. `late`: it did not take it in time. `full`: too many were waiting. */
export type MailResult = 'sent' | 'failed' | 'late' | 'full'

/** Sends mail in the background. No method throws or waits for the provider. */
export interface Mailer {
  /** Takes a mail to be sent before `deadline` (monotonic milliseconds); afterwards it is worthless and dropped. */
  enqueue(message: SystemMessage, deadline: number): void
  /** Mails that wait or are under way. */
  waiting(): number
  /** Gives what waits a moment to leave, then ends. */
  close(): Promise<void>
}

export type MailerParts = {
  readonly route: MailRoute
  /** What the transport calls itself in EHLO. */
  readonly name: string
  /** Told once for every mail. */
  readonly onResult: (result: MailResult, cause: string) => void
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Bounds and pauses; the defaults are for production. */
  readonly capacity?: number
  readonly pauses?: readonly number[]
}

type Job = { readonly message: SystemMessage; readonly deadline: number; attempt: number }

const CONNECTIONS = 4
const PAUSES = [500, 2_000, 8_000, 20_000, 60_000]
const CLOSE_PATIENCE_MS = 3_000

export function createMailer(parts: MailerParts): Mailer {
  const { onResult, now, capacity = 1_000, pauses = PAUSES } = parts
  const transport = nodemailer.createTransport(transportOptions(parts))
  const queue: Job[] = []
  const timers = new Set<NodeJS.Timeout>()
  let active = 0
  let closing = false

  function start(): void {
    while (active < CONNECTIONS) {
      const job = queue.shift()
      if (job === undefined) return
      active += 1
      void attempt(job).finally(() => {
        active -= 1
        start()
      })
    }
  }
  async function attempt(job: Job): Promise<void> {
    if (now() >= job.deadline) return onResult('late', 'not taken in time')
    try {
      await transport.sendMail(envelopeOf(job.message))
      onResult('sent', '')
    } catch (error) {
      const pause = pauses[job.attempt]
      if (isPermanent(error)) onResult('failed', causeOf(error))
      else if (pause === undefined || now() + pause >= job.deadline || closing) onResult('late', causeOf(error))
      else later({ ...job, attempt: job.attempt + 1 }, pause)
    }
  }
  function later(job: Job, pause: number): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      queue.push(job)
      start()
    }, pause)
    timer.unref()
    timers.add(timer)
  }
  const waiting = () => queue.length + active + timers.size

  return {
    waiting,
    enqueue(message, deadline) {
      if (closing || waiting() >= capacity) return onResult('full', 'too many mails are waiting')
      queue.push({ message, deadline, attempt: 0 })
      start()
    },
    async close() {
      closing = true
      for (const timer of timers) clearTimeout(timer)
      timers.clear()
      const patience = performance.now() + CLOSE_PATIENCE_MS
      while (queue.length + active > 0 && performance.now() < patience) {
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      queue.length = 0
      transport.close()
    },
  }
}

function transportOptions({ route, name }: MailerParts) {
  return {
    host: route.host,
    port: route.port,
    name,
    secure: route.security === 'tls',
    requireTLS: route.security === 'starttls',
    ignoreTLS: route.security === 'none',
    tls: { minVersion: 'TLSv1.2' as const, rejectUnauthorized: true, ...(route.ca === null ? {} : { ca: route.ca }) },
    ...(route.user === null ? {} : { auth: { user: route.user, pass: route.password ?? '' } }),
    pool: true as const,
    maxConnections: CONNECTIONS,
    // A pool that queues again after a lost connection can send twice; trying again is ours.
    maxRequeues: 0,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 60_000,
    disableFileAccess: true,
    disableUrlAccess: true,
  }
}

function envelopeOf(message: SystemMessage) {
  const { from, to, subject, text, messageId, headers } = message
  return {
    from: { name: '', address: from },
    to: { name: '', address: to },
    subject,
    text,
    messageId,
    headers: { ...headers },
  }
}

type SmtpFailure = { readonly responseCode?: unknown; readonly code?: unknown; readonly response?: unknown }

/** The provider's word on this mail. A sign-in that it refuses is about the operator's password, and may be mended in time. */
function isPermanent(error: unknown): boolean {
  const { responseCode, code } = error as SmtpFailure
  return code !== 'EAUTH' && typeof responseCode === 'number' && responseCode >= 500 && responseCode < 600
}

/** What the log may hold of a failure: codes, never an address. */
function causeOf(error: unknown): string {
  const { responseCode, code } = error as SmtpFailure
  return (
    [code, responseCode].filter((part) => typeof part === 'string' || typeof part === 'number').join(' ') || 'failed'
  )
}
