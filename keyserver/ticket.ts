import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { TicketAnswer, TicketRequest } from '../protocol/reader-api.ts'
import { personOf } from './browser.ts'
import { inTime } from './deadline.ts'
import { type Door, recordHead, trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import type { Signer } from './keyring.ts'
import { refusalOf } from './refusal.ts'
import { failures } from './schemas.ts'
import { lifeOf, standingOf } from './standing.ts'
import type { Copy } from './store.ts'

const TICKET_LIFE_SECONDS = 60

/** A compact JWS (EdDSA) that lets its bearer fetch one envelope's sealed copy for a minute. `now` is milliseconds. */
export function makeTicket(signer: Signer, envelope: EnvelopeId, now: number): string {
  const exp = Math.floor(now / 1000) + TICKET_LIFE_SECONDS
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'EdDSA', kid: signer.kid })}.${part({ env: envelope, exp })}`
  return `${signed}.${Buffer.from(signer.sign(Buffer.from(signed))).toString('base64url')}`
}

/** POST /v1/ticket. */
export function addTicketRoute(app: FastifyInstance, door: Door): void {
  const schema = {
    summary: 'Where the sealed copy lies, and a ticket for it',
    body: TicketRequest,
    response: { 200: TicketAnswer, ...failures },
  }
  app.post<{ Body: TicketRequest }>('/v1/ticket', { schema, config: { auth: 'session' } }, (request) =>
    inTime(issueTicket(door, request, request.body.envelope)),
  )
}

async function issueTicket(door: Door, request: FastifyRequest, envelope: EnvelopeId): Promise<TicketAnswer> {
  const { store, journal, clock, strangers, keyring } = door
  const { session, ip, network } = personOf(request)
  const { org, address } = session
  const now = trustedTime(clock)
  const standing = await store.read((reads) => standingOf(reads, envelope, address, org))
  if (standing === null) {
    strangers.count(org, network, 'not-for-you')
    throw new KeyServerError('not-for-you')
  }
  const persons = await journal.persons(org, [address])
  const { life, copies } = await store.transact(
    async (tx) => {
      const current = await standingOf(tx, envelope, address, org)
      const life = lifeOf(current?.envelope ?? standing.envelope, now)
      journal.append(tx, org, persons, (name) => {
        const fields = { envelope, person: name.person(address), network: name.value(address, ip) }
        const head = recordHead(clock, request)
        return life.kind === 'living'
          ? { kind: 'ticket', ...head, ...fields }
          : { kind: 'ticket-refused', ...head, ...fields, reason: life.kind }
      })
      return { life, copies: await tx.envelopes.copies(envelope) }
    },
    lifeOf(standing.envelope, now).kind === 'living' ? 'ordinary' : 'urgent',
  )
  if (life.kind !== 'living') throw refusalOf(life)
  return { ticket: makeTicket(keyring.signer, envelope, now), urls: urlsOf(door, envelope, copies) }
}

/** One address a gateway, that of the newest copy first. */
function urlsOf({ config }: Door, envelope: EnvelopeId, copies: readonly Copy[]): string[] {
  const bases = copies.map((copy) => config.gateways[copy.gateway]?.copies)
  const known = bases.filter((base) => base !== undefined)
  return [...new Set(known)].map((base) => new URL(`/e/${envelope}`, base).href)
}
