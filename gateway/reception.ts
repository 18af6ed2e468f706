import { finished } from 'node:stream/promises'
import { noTracer, type Span, type Tracer } from '../telemetry/tracer.ts'
import type { MessageWish } from './dsn.ts'
import type { Answer } from './error.ts'
import { answerTo, GatewayError, orDiskFull } from './error.ts'
import { fieldsOf } from './header.ts'
import { type Content, createContentWriter, type Intake, type IntakeRecipient, type Mailbox } from './intake.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Offers } from './offers.ts'
import { type Proof, proveMessage } from './proof.ts'
import type { Room } from './room.ts'
import type { DataStream } from './smtp-connection.ts'
import { newId, receivedValue } from './trace.ts'

/** What becomes of a message that came in whole. Frees nothing: the content is discarded afterwards. */
export type Accept = (intake: Intake, deadline: AbortSignal) => Promise<Answer>

/** What it takes to take in a message. */
export type Reception = {
  /** Our own name. */
  readonly host: string
  /** Where large messages wait, with those of all listeners. */
  readonly room: Room
  /** For scratch files of what has no room. */
  readonly folder: string
  /** More Received fields are taken for a circle (RFC 5321 6.3). */
  readonly receivedLimit: number
  readonly offers: Pick<Offers, 'any'>
  /** The content must be in within this time, milliseconds. */
  readonly dataTimeoutMs: number
  /** From the dot to the reply, milliseconds. */
  readonly budgetMs: number
  readonly accept: Accept
  readonly log: Log
  readonly metrics: Metrics
  readonly tracer?: Tracer
  readonly now: () => Date
}

/** What the commands before DATA said. */
export type Envelope = {
  readonly sender: Mailbox | null
  readonly recipients: readonly IntakeRecipient[]
  readonly smtpUtf8: boolean
  readonly wish: MessageWish
  readonly proof: Proof
  readonly helo: string
  readonly client: string
  /** The name that the client signed in with; '' where it did not. */
  readonly identity: string
  readonly tls: boolean
  readonly protocol: string
}

/** Reads the message to its end, judges it, has it dealt with and frees it. Resolves with the one reply, whatever happens. */
export function receive(reception: Reception, envelope: Envelope, stream: DataStream): Promise<Answer> {
  const { tracer = noTracer } = reception
  return tracer.within('message', {}, (span) => handle(reception, envelope, stream, span))
}

async function handle(reception: Reception, envelope: Envelope, stream: DataStream, span: Span): Promise<Answer> {
  const { tracer = noTracer } = reception
  const id = newId()
  let content: Content | null = null
  try {
    content = await tracer.within('accept', {}, () => readContent(reception, stream))
    const intake = admit(reception, envelope, content, id)
    span.note({ org: intake.org, size: content.size })
    reception.metrics.accepted()
    const answer = await inTime(reception, intake)
    span.note({ code: answer.code })
    return answer
  } catch (cause) {
    const error = orDiskFull(cause)
    const reason = error instanceof GatewayError ? error.code : 'internal'
    reception.metrics.refused(reason)
    const answer = answerTo(error, id)
    span.note({ code: answer.code })
    span.failed()
    const known = error instanceof GatewayError && error.code !== 'internal'
    reception.log[known ? 'info' : 'error']('message refused', {
      incident: id,
      client: envelope.client,
      reason,
      code: answer.code,
      cause: error,
    })
    return answer
  } finally {
    await content?.discard()
  }
}

/** Octets in, up to the dot. The stream is read to its end even when its message is lost: the reply must not come before the dot. */
async function readContent(reception: Reception, stream: DataStream): Promise<Content> {
  const writer = createContentWriter(reception.folder, reception.room)
  let failure: unknown = null
  let late = false
  const timer = setTimeout(() => {
    late = true
    stream.destroy(new Error('the content took too long'))
  }, reception.dataTimeoutMs)
  let taken = Promise.resolve()
  stream.consume = (piece) => {
    if (failure !== null) return taken
    taken = writer.write(piece).catch((error: unknown) => {
      failure = error
    })
    return taken
  }
  try {
    await finished(stream.resume())
  } catch (cause) {
    failure = new GatewayError(late ? 'too-slow' : 'cut-off', { cause })
  } finally {
    clearTimeout(timer)
    // A stream may be cut off in the middle of a piece.
    await taken
  }
  try {
    if (failure !== null) throw failure
    judgeStream(reception, stream)
    const content = await writer.finish()
    if (content === null) throw new GatewayError('header-too-large')
    return content
  } catch (error) {
    await writer.discard()
    throw error
  }
}

function judgeStream(reception: Reception, stream: DataStream): void {
  const { fault } = stream
  if (fault !== null) {
    const words = `the message holds a bare ${fault.kind} in line ${fault.line}; lines must end in CRLF (RFC 5321 2.3.8)`
    throw new GatewayError('bare-newline', { words })
  }
  if (!stream.sizeExceeded) return
  throw new GatewayError('too-large', { words: `the message is larger than ${reception.offers.any().size} octets` })
}

/** The message with all that is proven about it, or a {@link GatewayError}. */
function admit(reception: Reception, envelope: Envelope, content: Content, id: string): Intake {
  if (fieldsOf(content.header, 'received').length > reception.receivedLimit) throw new GatewayError('too-many-hops')
  const result = proveMessage(envelope.proof, content.header)
  if (result.kind === 'refused') throw new GatewayError(result.code)
  const { sender, recipients, smtpUtf8, wish, helo, protocol } = envelope
  const receivedAt = reception.now()
  const [first, second] = recipients
  const recipient = first !== undefined && second === undefined ? first : null
  const hop = { helo, address: envelope.client, protocol, host: reception.host, id, recipient, at: receivedAt }
  const client = {
    identity: envelope.identity,
    ip: envelope.client.replace(/^::ffff:(?=\d+\.)/i, ''),
    tls: envelope.tls,
  }
  const received = receivedValue(hop)
  return { id, org: result.org, sender, recipients, smtpUtf8, client, wish, receivedAt, received, content }
}

async function inTime(reception: Reception, intake: Intake): Promise<Answer> {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(new GatewayError('out-of-time')), reception.budgetMs)
  const done = reception.metrics.started()
  try {
    return await reception.accept(intake, deadline.signal)
  } finally {
    clearTimeout(timer)
    done()
  }
}
