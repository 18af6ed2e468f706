import { type Static, Type } from '@sinclair/typebox'
import { type OrgId, patterns } from '../protocol/identifiers.ts'
import { TelemetryEntry } from '../telemetry/config.ts'

const closed = { additionalProperties: false } as const
const words = (expected: string) => ({ description: expected })

const Path = Type.String({ minLength: 1, ...words('the path of a file or folder, relative to this file') })
const Host = Type.String({ minLength: 1, maxLength: 253, ...words('a host name or address') })
const Port = Type.Integer({ minimum: 0, maximum: 65_535, ...words('a port number, 0 to 65535') })
const Origin = Type.String({
  pattern: '^https?://[^/?#@\\s]+$',
  ...words('an origin such as https://open.acme.example, without a path'),
})
const Org = Type.Unsafe<OrgId>({
  type: 'string',
  pattern: patterns.orgId,
  ...words('an organization id such as acme.example'),
})
const Orgs = Type.Array(Org, { minItems: 1, uniqueItems: true, ...words('a list of organization ids') })
const Mailbox = Type.String({ pattern: '^[^@\\s]+@[^@\\s]+$', maxLength: 320, ...words('a mail address') })
const name = '^[a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?$'
const atLeast = (minimum: number, maximum: number) =>
  Type.Optional(Type.Integer({ minimum, maximum, ...words(`a whole number from ${minimum} to ${maximum}`) }))
const tls = { cert: Path, key: Path }

/** The form of the file; `description` says what is expected, for people. */
export const ConfigFile = Type.Object(
  {
    organizations: Type.Record(
      Type.String({ pattern: patterns.orgId }),
      Type.Object(
        {
          ...{ url: Type.Optional(Origin), from: Mailbox, domains: Type.Array(Host, { minItems: 1 }) },
          recipientTls: Type.Optional(Type.Boolean(words('true or false'))),
        },
        closed,
      ),
      { ...closed, minProperties: 1, ...words('at least one organization, by its id such as acme.example') },
    ),
    policies: Path,
    database: Path,
    disk: Type.Optional(Type.Object({ keepFree: atLeast(4, 1_048_576), reserve: atLeast(1, 1024) }, closed)),
    keyStore: Path,
    kek: Type.Object({ file: Path }, closed),
    public: Type.Object(
      {
        host: Host,
        port: Port,
        url: Origin,
        tls: Type.Optional(Type.Object(tls, closed)),
        trustedProxies: Type.Optional(
          Type.Array(Type.String({ minLength: 2 }), words('a list of addresses or ranges')),
        ),
      },
      closed,
    ),
    gatewayListener: Type.Object({ host: Host, port: Port, tls: Type.Object({ ...tls, ca: Path }, closed) }, closed),
    ops: Type.Object({ host: Host, port: Port }, closed),
    gateways: Type.Record(
      Type.String({ pattern: name }),
      Type.Object({ organizations: Orgs, copies: Origin }, closed),
      { ...closed, ...words('gateways by name: lower-case letters, digits, dots and hyphens') },
    ),
    officers: Type.Optional(
      Type.Record(Type.String({ pattern: name }), Type.Object({ organizations: Orgs }, closed), {
        ...closed,
        ...words('officers by name: lower-case letters, digits, dots and hyphens'),
      }),
    ),
    mail: Type.Object(
      {
        host: Host,
        port: Port,
        security: Type.Optional(
          Type.Union(
            [Type.Literal('none'), Type.Literal('starttls'), Type.Literal('tls')],
            words('none, starttls or tls'),
          ),
        ),
        ca: Type.Optional(Path),
        user: Type.Optional(Type.String({ minLength: 1 })),
        password: Type.Optional(Type.Object({ file: Path }, closed)),
      },
      closed,
    ),
    limits: Type.Optional(
      Type.Object(
        {
          codesPerAddressPerHour: atLeast(1, 1000),
          codesPerNetworkPerHour: atLeast(1, 1_000_000),
          wrongCodesPerAddressPerDay: atLeast(5, 1000),
          opensPerPersonPerHour: atLeast(1, 1_000_000),
          requestsPerNetworkPerMinute: atLeast(10, 10_000_000),
          sessionHours: atLeast(1, 168),
        },
        closed,
      ),
    ),
    graceDays: atLeast(0, 30),
    telemetry: Type.Optional(TelemetryEntry),
    log: Type.Optional(
      Type.Object(
        {
          level: Type.Union(
            [Type.Literal('debug'), Type.Literal('info'), Type.Literal('warn'), Type.Literal('error')],
            words('debug, info, warn or error'),
          ),
        },
        closed,
      ),
    ),
  },
  closed,
)
export type ConfigFile = Static<typeof ConfigFile>
