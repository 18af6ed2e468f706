import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Revoked } from '../protocol/gateway-api.ts'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { RevokeRequest } from '../protocol/reader-api.ts'
import { personOf } from './browser.ts'
import { inTime } from './deadline.ts'
import { type Door, recordHead, rfc3339 } from './door.ts'
import { KeyServerError } from './error.ts'
import type { Naming } from './journal.ts'
import { failures } from './schemas.ts'
import { standingOf } from './standing.ts'

/** POST /v1/revoke. */
export function addRevokeRoute(app: FastifyInstance, door: Door): void {
  const schema = {
    summary: 'Revoke a message, as its sender',
    description: 'Good at once and for ever. Revoking what is revoked answers when it was.',
    body: RevokeRequest,
    response: { 200: Revoked, ...failures },
  }
  app.post<{ Body: RevokeRequest }>('/v1/revoke', { schema, config: { auth: 'session' } }, (request) =>
    inTime(revoke(door, request, request.body.envelope)),
  )
}

/** Marks and records in one transaction: whatever is decided after it sees the mark. Works while the clock is behind, too. */
async function revoke(door: Door, request: FastifyRequest, envelope: EnvelopeId): Promise<Revoked> {
  const { store, journal, clock, strangers } = door
  const { session, network } = personOf(request)
  const { org, address } = session
  const standing = await store.read((reads) => standingOf(reads, envelope, address, org))
  if (standing === null) {
    strangers.count(org, network, 'not-for-you')
    throw new KeyServerError('not-for-you')
  }
  const persons = await journal.persons(org, [address])
  const isSender = standing.envelope.sender === address
  const revokedAt = await store.transact(async (tx) => {
    const by = (name: Naming) => ({ role: 'sender', person: name.person(address), name: null }) as const
    const at = clock.now()
    if (!isSender) {
      journal.append(tx, org, persons, (name) => {
        const refused = { kind: 'revoke-refused', reason: 'not the sender' } as const
        return { ...refused, ...recordHead(clock, request), envelope, by: by(name) }
      })
      return null
    }
    if (!(await tx.envelopes.revoke(envelope, at))) return (await tx.envelopes.find(envelope))?.revokedAt ?? at
    await tx.changes.add(envelope, 'revoked', at)
    journal.append(tx, org, persons, (name) => {
      const revoked = { kind: 'revoked', reason: 'by the sender' } as const
      return { ...revoked, ...recordHead(clock, request), envelope, by: by(name) }
    })
    return at
  }, 'urgent')
  if (revokedAt !== null) return { id: envelope, revokedAt: rfc3339(revokedAt) }
  throw new KeyServerError('not-authorised', { detail: 'Only the sender can revoke this message.' })
}
