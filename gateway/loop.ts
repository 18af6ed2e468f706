import { hash } from 'node:crypto'
import { fields } from '../protocol/headers.ts'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { GatewayError } from './error.ts'
import { fieldsOf, parseHeader } from './header.ts'
import type { Intake } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import { readPart } from './mime-part.ts'
import type { Organization } from './organization.ts'
import { readLoopStamp } from './stamp.ts'

/** A sealed mail that came back: the envelope in it is one that the key server confirmed for this organization. */
export type Handled = {
  readonly id: EnvelopeId
  /** The whole envelope, exactly as confirmed. */
  readonly sealed: Uint8Array
  readonly link: string
  readonly expiresAt: string
}

/** The attachment's name on every sealed mail. */
const ATTACHMENT = 'protected-message.sealpost'

/**
 * What a stamped mail proves itself to be, or null: then it is treated like any other, and the stamp did nothing. Only the envelope is
 * proven; whoever passes it on composes the rest anew. Rejects with `came-back` if all its recipients were sent that envelope before,
 * whether it is attached or not: passed on once more it would only come back again.
 */
export async function recogniseHandled(
  intake: Intake,
  { loopSecret, otherLoopSecret }: Pick<Organization, 'loopSecret' | 'otherLoopSecret'>,
  keyServer: Pick<KeyServer, 'handled'>,
): Promise<Handled | null> {
  const [field, second] = fieldsOf(intake.content.header, fields.handled)
  if (field === undefined || second !== undefined) return null
  const secrets = otherLoopSecret === null ? [loopSecret] : [loopSecret, otherLoopSecret]
  const ids = secrets.map((secret) => readLoopStamp(field.value, intake.org, secret))
  const id = ids.find((found) => found !== null) ?? null
  if (id === null) return null
  const sealed = await findEnvelope(intake)
  const recipients = intake.recipients.map(({ address }) => address)
  const asked = { org: intake.org, id, recipients }
  const digest = sealed === null ? {} : { digest: hash('sha256', sealed, 'base64url') }
  const answer = await keyServer.handled({ ...asked, ...digest })
  const reached = new Set(answer.reached)
  if (recipients.every((address) => reached.has(address))) throw new GatewayError('came-back')
  return sealed !== null && answer.handled && answer.notice !== null ? { id, sealed, ...answer.notice } : null
}

/** The attached envelope among the message's own parts, decoded. */
async function findEnvelope(intake: Intake): Promise<Uint8Array | null> {
  const boundary = readPart(intake.content.header).parameters.get('boundary')
  if (boundary === undefined || boundary === '') return null
  const chunks: Uint8Array[] = []
  for await (const chunk of intake.content.body()) chunks.push(Buffer.from(chunk))
  const body = Buffer.concat(chunks)
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  for (let at = body.indexOf(delimiter); at !== -1; ) {
    const next = body.indexOf(delimiter, at + delimiter.length)
    const start = body.indexOf('\r\n', at + delimiter.length)
    if (start !== -1) {
      const part = body.subarray(start + 2, next === -1 ? body.length : next)
      const header = parseHeader(part)
      if (header !== null && readPart(header).filename === ATTACHMENT) {
        return Buffer.from(part.toString('latin1', header.bodyStart), 'base64')
      }
    }
    at = next
  }
  return null
}
