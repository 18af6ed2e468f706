import { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { OrgId } from '../protocol/identifiers.ts'
import type { Config } from './config.ts'
import { KeyServerError } from './error.ts'

/** Who is calling, by the certificate, and for which organizations. */
export type Client = {
  readonly kind: 'gateway' | 'officer'
  readonly name: string
  readonly organizations: ReadonlySet<OrgId>
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set on the gateways' listener only, before the body is read. */
    client: Client | null
  }
}

/** Lets only those certificates in that the route is for and the configuration knows. Needs routes that declare `config.auth`. */
export function identifyClients(app: FastifyInstance, config: Config): void {
  const known = new WeakMap<object, Client | null>()
  app.decorateRequest('client', null)
  app.addHook('onRequest', async (request) => {
    const auth = request.routeOptions.config.auth
    if (auth !== 'gateway' && auth !== 'officer') return
    // A connection's certificate never changes (TLS 1.3 has no renegotiation), and reading it costs more than the rest of this.
    const client = known.get(request.socket) ?? clientOf(request, config)
    known.set(request.socket, client)
    if (client?.kind !== auth) {
      throw new KeyServerError('not-authorised', {
        detail: `This needs the certificate of ${auth === 'officer' ? 'an officer' : 'a gateway'} known to this server.`,
      })
    }
    request.client = client
  })
}

/** The client that the hook let in. */
export function clientIn(request: FastifyRequest): Client {
  if (request.client === null) throw new KeyServerError('not-authorised')
  return request.client
}

/** An officer as records name one. */
export function byOfficer({ name }: Client) {
  return { role: 'officer', person: null, name } as const
}

/** The one `sealpost:<kind>:<name>` URI among a certificate's subject alternative names, null if there is none or more than one. */
export function parseSubjectAltName(text: string | undefined): Pick<Client, 'kind' | 'name'> | null {
  const uris = (text ?? '').split(', ').filter((part) => part.startsWith('URI:sealpost:'))
  const found = /^URI:sealpost:(gateway|officer):([a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?)$/.exec(uris[0] ?? '')
  if (uris.length !== 1 || found === null) return null
  return { kind: found[1] === 'gateway' ? 'gateway' : 'officer', name: found[2] ?? '' }
}

function clientOf(request: FastifyRequest, config: Config): Client | null {
  const { socket } = request
  if (!(socket instanceof TLSSocket) || !socket.authorized) return null
  const named = parseSubjectAltName(socket.getPeerCertificate().subjectaltname)
  if (named === null) return null
  const known = named.kind === 'gateway' ? config.gateways : config.officers
  const access = Object.hasOwn(known, named.name) ? known[named.name] : undefined
  return access === undefined ? null : { ...named, organizations: new Set(access.organizations) }
}
