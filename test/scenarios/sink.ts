import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'

/** One mail as the provider got it: its envelope and its octets, dots un-stuffed. */
export type Delivery = {
  /** MAIL FROM; '' for `<>`. */
  readonly sender: string
  readonly recipients: readonly string[]
  readonly octets: Buffer
  readonly tls: boolean
  /** Whether MAIL said SMTPUTF8. */
  readonly smtpUtf8: boolean
}

/** A refusal such as `550 5.1.1 no such user`. */
export type Reply = `${4 | 5}${number} ${string}`

/** What the sink says no to; may be changed at any time. */
export type SinkScript = {
  /** The answer to RCPT; null accepts. */
  refuse: (recipient: string) => Reply | null
  /** The answer to the dot, once the content is in and before it is counted as delivered; null accepts. It may take its time. */
  judge: (delivery: Delivery) => Promise<Reply | null> | Reply | null
}

/** A provider that keeps what it gets, in this process. */
export type Sink = {
  readonly port: number
  readonly script: SinkScript
  /** All that was accepted, in order. */
  readonly deliveries: readonly Delivery[]
  /** What was accepted for this recipient. */
  to(recipient: string): readonly Delivery[]
  /** Contents that were seen, accepted or not: nothing of a secret may stand in them. */
  readonly seen: readonly Buffer[]
  /** Waits for a delivery that `fits`; throws after 10 s, naming `what`. */
  wait(what: string, fits: (delivery: Delivery) => boolean): Promise<Delivery>
  /** Forgets what was accepted and seen so far. */
  forget(): void
  /** Ends it at once, as a provider that dies. Another may be started at the same port. */
  close(): Promise<void>
}

export type SinkOptions = Partial<SinkScript> & {
  /** TCP port of 127.0.0.1; any free one by default. */
  readonly port?: number
  /** Certificate and key, PEM: then STARTTLS is offered. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer }
  readonly smtpUtf8?: boolean
}

/** Starts a sink on 127.0.0.1. */
export async function startSink(options: SinkOptions = {}): Promise<Sink> {
  const deliveries: Delivery[] = []
  const seen: Buffer[] = []
  const script: SinkScript = { refuse: options.refuse ?? (() => null), judge: options.judge ?? (() => null) }
  const take = async (delivery: Delivery): Promise<Reply | null> => {
    seen.push(delivery.octets)
    const reply = await script.judge(delivery)
    if (reply === null) deliveries.push(delivery)
    return reply
  }
  const server = new SMTPServer({ ...settings(options), ...handlers(script, take) })
  // A client that is killed is the test's affair.
  server.on('error', () => undefined)
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server.server, 'listening')
  return {
    port: (server.server.address() as AddressInfo).port,
    script,
    deliveries,
    seen,
    to: (recipient) => deliveries.filter((delivery) => delivery.recipients.includes(recipient)),
    forget() {
      deliveries.length = 0
      seen.length = 0
    },
    async wait(what, fits) {
      for (let waited = 0; waited < 10_000; waited += 20) {
        const found = deliveries.find(fits)
        if (found !== undefined) return found
        await sleep(20)
      }
      throw new Error(`${what} did not reach the provider within 10 s`)
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

function settings({ tls, smtpUtf8 }: SinkOptions): SMTPServerOptions {
  return {
    ...(tls ?? {}),
    name: 'provider.example',
    logger: false,
    authOptional: true,
    disabledCommands: tls === undefined ? ['AUTH', 'STARTTLS'] : ['AUTH'],
    disableReverseLookup: true,
    hideSMTPUTF8: smtpUtf8 === false,
    size: 100_000_000,
    closeTimeout: 50,
  }
}

function handlers(
  script: SinkScript,
  take: (delivery: Delivery) => Promise<Reply | null>,
): Pick<SMTPServerOptions, 'onRcptTo' | 'onData'> {
  return {
    onRcptTo({ address }, _session, callback) {
      const reply = script.refuse(address)
      callback(reply === null ? null : refusal(reply))
    },
    onData(stream, session, callback) {
      const { mailFrom, rcptTo } = session.envelope
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const args = mailFrom === false ? false : mailFrom.args
        const delivery: Delivery = {
          sender: mailFrom === false ? '' : mailFrom.address,
          recipients: rcptTo.map((to) => to.address),
          octets: Buffer.concat(chunks),
          tls: session.secure,
          smtpUtf8: args !== false && args !== undefined && 'SMTPUTF8' in args,
        }
        take(delivery).then(
          (reply) => callback(reply === null ? null : refusal(reply)),
          (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
        )
      })
    },
  }
}

function refusal(reply: Reply): Error {
  return Object.assign(new Error(reply.slice(4)), { responseCode: Number(reply.slice(0, 3)) })
}

/** The sealed copy that a mail carries as `protected-message.sealpost`; throws where it carries none. */
export function sealedCopyIn(mail: Uint8Array): Uint8Array<ArrayBuffer> {
  const text = Buffer.from(mail).toString('latin1')
  const named = /\r\nContent-Disposition: attachment;[^\r]*(?:\r\n[ \t][^\r]*)*protected-message\.sealpost/i.exec(text)
  const start = named === null ? -1 : text.indexOf('\r\n\r\n', named.index)
  const end = text.indexOf('\r\n--', start + 4)
  if (start === -1 || end === -1) throw new Error('the mail carries no protected-message.sealpost')
  return new Uint8Array(Buffer.from(text.slice(start + 4, end), 'base64'))
}

/** The id of the envelope that a mail is about: from the link in its notice. Throws where there is none. */
export function envelopeIn(mail: Uint8Array): string {
  const text = Buffer.from(mail).toString('latin1').replaceAll('=\r\n', '')
  const id = /\/m\/([A-Za-z0-9_-]{22})/.exec(text)?.[1]
  if (id === undefined) throw new Error('the mail bears no link')
  return id
}
