import { randomBytes } from 'node:crypto'
import type { CopyState, IssuedEnvelope } from '../protocol/gateway-api.ts'
import type { Address } from '../protocol/identifiers.ts'
import { KeyServerError } from './error.ts'
import { openSecret, wrapDataKey } from './keyring.ts'
import { linkOf, type Parts } from './parts.ts'
import type { Envelope } from './store.ts'

/** What the transaction settled, and with which secret: null where it is still sealed in the row, or nothing is left to send. */
export type Settled = {
  readonly envelope: Envelope
  readonly secret: Uint8Array | null
  readonly send: boolean
  readonly recipients: readonly { readonly address: Address; readonly state: CopyState }[]
}

/** The answer for one envelope, with a data key of its own where something is to be sent. */
export async function present(parts: Parts, { envelope, secret, send, recipients }: Settled): Promise<IssuedEnvelope> {
  const issuedAt = new Date(envelope.issuedAt).toISOString()
  const listed = recipients.map(({ address, state }) => ({ address, state }))
  if (!send || envelope.kind === 'pass' || envelope.kind === 'refuse')
    return { id: envelope.id, issuedAt, key: null, recipients: listed }
  const { org, termsHash: hash, expiresAt } = envelope
  if (hash === null || expiresAt === null) throw new Error('a sealed envelope without terms')
  const dataKey = randomBytes(32)
  const half = secret ?? (await reopen(parts, envelope))
  return {
    id: envelope.id,
    issuedAt,
    key: {
      dataKey: dataKey.toString('base64url'),
      wrappedKey: Buffer.from(wrapDataKey(half, dataKey, { org, envelope: envelope.id, termsHash: hash })).toString(
        'base64url',
      ),
      termsHash: hash,
      link: linkOf(parts.config, org, envelope.id),
      expiresAt: new Date(expiresAt).toISOString(),
    },
    recipients: listed,
  }
}

async function reopen({ keyring }: Parts, { org, id, bucket, sealedSecret }: Envelope): Promise<Uint8Array> {
  const found = bucket === null ? null : await keyring.bucket(org, bucket)
  const secret =
    found === null || sealedSecret === null
      ? null
      : openSecret(found.key, sealedSecret, { org, envelope: id, bucket: found.id })
  if (secret === null)
    throw new KeyServerError('unavailable', { detail: 'Keys are being changed just now. Try again.' })
  return secret
}
