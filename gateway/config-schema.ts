import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { type OrgId, patterns } from '../protocol/identifiers.ts'
import { TelemetryEntry } from '../telemetry/config.ts'

/** The shape of the gateway's configuration file; gateway.sample.yaml says what each option is for. */

const closed = { additionalProperties: false } as const
const words = (expected: string) => ({ description: expected })
const optional = <T extends TSchema>(schema: T) => Type.Optional(schema)

const Path = Type.String({ minLength: 1, ...words('the path of a file or folder, relative to this file') })
const Secret = Type.Object(
  { file: Path },
  { ...closed, ...words('{file: path} of a file that only its owner can read') },
)
/** Two while one takes the other's place. */
const Secrets = Type.Union(
  [Secret, Type.Array(Secret, { minItems: 1, maxItems: 2 })],
  words('{file: path}, or a list of one or two of them'),
)
const Host = Type.String({ minLength: 1, maxLength: 253, ...words('a host name or address') })
const HostName = Type.String({
  pattern: '^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$',
  ...words('a host name such as gw1.acme.example'),
})
const Port = Type.Integer({ minimum: 0, maximum: 65_535, ...words('a port number, 0 to 65535') })
const Org = Type.Unsafe<OrgId>({
  type: 'string',
  pattern: patterns.orgId,
  ...words('an organization id such as acme.example'),
})
const Origin = Type.String({
  pattern: '^https?://[^/?#@\\s]+$',
  ...words('an origin such as https://open.acme.example'),
})
const Range = Type.String({ minLength: 2, maxLength: 64, ...words('an address or a range such as 192.0.2.0/24') })
const oneOf = <T extends string>(...values: readonly T[]) =>
  Type.Unsafe<T>({ type: 'string', enum: [...values], ...words(`one of ${values.join(', ')}`) })
const number = (minimum: number, maximum: number) =>
  optional(Type.Integer({ minimum, maximum, ...words(`a whole number from ${minimum} to ${maximum}`) }))
const Flag = Type.Boolean(words('true or false'))

/** What lets us into a provider's cloud; which of them go together is up to the cloud: config-cloud.ts. */
const cloudOptions = {
  tenant: optional(
    Type.String({ pattern: '^[A-Za-z0-9.-]+$', ...words('the id of a directory, or one of its domains') }),
  ),
  clientId: optional(Type.String({ minLength: 1, ...words('the id of an application') })),
  clientSecret: optional(Secret),
  clientCertificate: optional(Type.Object({ cert: Path, key: Path }, { ...closed, ...words('cert and key') })),
  serviceAccount: optional(Secret),
  authority: optional(Origin),
}

const Mx = Type.Object(
  {
    resolver: optional(
      Type.Array(Type.String({ maxLength: 64 }), {
        minItems: 1,
        maxItems: 8,
        ...words('a list of addresses of name servers'),
      }),
    ),
    dnssec: optional(oneOf('off', 'trusted-resolver')),
    port: optional(Port),
    ca: optional(Path),
    thisMachine: optional(Flag),
  },
  { ...closed, ...words('resolver, dnssec, port, ca and thisMachine') },
)

const NextHop = Type.Object(
  {
    mx: optional(Mx),
    host: optional(Host),
    port: optional(Port),
    tls: optional(
      Type.Object(
        {
          mode: oneOf('verify', 'pin', 'opportunistic', 'none'),
          name: optional(Host),
          ca: optional(Path),
          pins: optional(
            Type.Array(Type.String({ minLength: 43 }), { minItems: 1, ...words('a list of SHA-256 pins, base64') }),
          ),
          certificate: optional(Path),
          key: optional(Path),
        },
        { ...closed, ...words('mode, and with it name, ca or pins, certificate and key') },
      ),
    ),
    implicitTls: optional(Flag),
    user: optional(Type.String({ minLength: 1, ...words('a user name') })),
    password: optional(Secret),
    oauth: optional(
      Type.Object(
        { cloud: oneOf('microsoft', 'google'), ...cloudOptions },
        { ...closed, ...words('cloud, and with it what lets us in') },
      ),
    ),
    connections: number(1, 1000),
    microsoft: optional(Flag),
    signs: optional(Flag),
    carryLimit: number(100_000, 1_000_000_000),
  },
  { ...closed, ...words('mx, or host and port of the provider') },
)

const DkimKey = Type.Object(
  {
    domain: HostName,
    selector: Type.String({
      pattern:
        '^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,3}$',
      ...words('a selector such as s2026'),
    }),
    key: Path,
  },
  { ...closed, ...words('domain, selector and key') },
)

const Api = Type.Object(
  {
    provider: oneOf('graph', 'gmail'),
    ...cloudOptions,
    mailboxes: optional(Type.Array(Type.String(), { minItems: 1, ...words('a list of addresses') })),
    endpoint: optional(Origin),
  },
  { ...closed, ...words('provider, and with it what lets us in') },
)

const Scanner = Type.Object(
  {
    kind: oneOf('clamd', 'icap'),
    socket: optional(Path),
    host: optional(Host),
    port: optional(Port),
    service: optional(
      Type.String({ pattern: '^[A-Za-z0-9._~/?&=-]{1,200}$', ...words('the path of an ICAP service, such as avscan') }),
    ),
    tls: optional(
      Type.Object(
        { mode: oneOf('verify', 'none'), name: optional(Host), ca: optional(Path) },
        { ...closed, ...words('mode verify or none, and with verify name or ca') },
      ),
    ),
    timeoutSeconds: number(1, 300),
    maxSize: number(1, 2_000_000_000),
    connections: number(1, 1000),
  },
  { ...closed, ...words('kind clamd or icap, and where it listens') },
)

const Organization = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128, ...words("the organization's name for people") }),
    nextHop: Type.Union([Type.Literal('mx'), NextHop], words('mx, or host and port of the provider')),
    api: optional(Api),
    dkim: optional(Type.Array(DkimKey, { maxItems: 64, ...words('a list of {domain, selector, key}') })),
    traceKey: optional(Secret),
    loopSecret: optional(Secrets),
    tenantSecret: optional(Secrets),
    scanner: optional(Type.Union([Scanner, Type.Literal('none')], words('a scanner with its kind, or none'))),
  },
  { ...closed, ...words('an organization with its name and nextHop') },
)

const rate = number(1, 2_000_000_000)
const rates = { messages: rate, recipients: rate, octets: rate }
const Rates = Type.Object(
  {
    listener: optional(
      Type.Object({ connections: rate, errors: rate, ...rates }, { ...closed, ...words('rates by name') }),
    ),
    network: optional(
      Type.Object(
        { atOnce: rate, connections: rate, errors: rate, ...rates },
        { ...closed, ...words('rates by name') },
      ),
    ),
    sender: optional(Type.Object(rates, { ...closed, ...words('messages, recipients or octets') })),
  },
  { ...closed, ...words('rates for listener, network and sender') },
)

const ClientRule = Type.Object(
  {
    org: Org,
    from: optional(
      Type.Union(
        [Type.Literal('anyone'), Type.Array(Range, { minItems: 1 })],
        words('anyone, or a list of addresses and ranges'),
      ),
    ),
    certificate: optional(
      Type.Object(
        {
          ca: Path,
          names: Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
            minItems: 1,
            ...words('a list of names such as mta.acme.example'),
          }),
        },
        { ...closed, ...words('ca and names') },
      ),
    ),
    tenantSecret: optional(Flag),
  },
  { ...closed, ...words('org, and from or certificate') },
)

const Listener = Type.Object(
  {
    name: optional(Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,31}$', ...words('a short name in lower case') })),
    host: Host,
    port: Port,
    tls: optional(
      Type.Object(
        { mode: oneOf('starttls', 'implicit'), cert: Path, key: Path },
        { ...closed, ...words('mode, cert and key') },
      ),
    ),
    accounts: optional(
      Type.Union(
        [Path, Type.Object({ file: optional(Path), provider: optional(Flag) }, closed)],
        words('the path of an accounts file, or {file, provider: true}'),
      ),
    ),
    signInWithoutTls: optional(Flag),
    clients: optional(Type.Array(ClientRule, words('a list of {org, from, certificate}'))),
    proxies: optional(Type.Array(Range, { minItems: 1, ...words('a list of addresses and ranges of balancers') })),
    bareNewlines: optional(oneOf('refuse', 'normalise')),
    sharedPort: optional(Flag),
    delivery: optional(oneOf('inline', 'spool')),
  },
  { ...closed, ...words('a listener with host and port') },
)

const Spool = Type.Object(
  {
    folder: optional(Path),
    lifeSeconds: number(1, 2_592_000),
    delayNoticeSeconds: number(1, 2_592_000),
    retrySeconds: number(1, 86_400),
    retryMostSeconds: number(1, 86_400),
    reserve: number(0, Number.MAX_SAFE_INTEGER),
  },
  { ...closed, ...words('folder, lifeSeconds, delayNoticeSeconds, retrySeconds, retryMostSeconds and reserve') },
)

export const ConfigFile = Type.Object(
  {
    name: HostName,
    data: Path,
    organizations: Type.Record(Type.String({ pattern: patterns.orgId }), Organization, {
      ...closed,
      minProperties: 1,
      ...words('at least one organization, by its id such as acme.example'),
    }),
    listeners: Type.Array(Listener, { minItems: 1, ...words('at least one listener') }),
    keyServer: Type.Object(
      {
        url: Type.String({
          pattern: '^https://[^/?#@\\s]+$',
          ...words('an origin such as https://keys.acme.example:8444'),
        }),
        cert: Path,
        key: Path,
        ca: Path,
        timeoutSeconds: number(1, 60),
        pollSeconds: number(1, 3600),
      },
      { ...closed, ...words('url, cert, key and ca') },
    ),
    copies: Type.Object(
      {
        host: Host,
        port: Port,
        folder: optional(Path),
        origins: Type.Array(Origin, { minItems: 1, ...words('a list of origins') }),
      },
      { ...closed, ...words('host, port and origins') },
    ),
    spool: optional(Spool),
    scanner: optional(Scanner),
    ops: Type.Object({ host: Host, port: Port }, { ...closed, ...words('host and port') }),
    limits: optional(
      Type.Object(
        {
          size: number(65_536, 2_000_000_000),
          memory: number(0, 2_000_000_000),
          recipients: number(1, 1000),
          received: number(5, 500),
          connections: number(1, 100_000),
          errors: number(1, 100_000),
          idleSeconds: number(1, 3600),
          dataSeconds: number(1, 86_400),
          budgetSeconds: number(1, 600),
          drainSeconds: number(1, 600),
          rates: optional(Rates),
        },
        { ...closed, ...words('limits by name') },
      ),
    ),
    telemetry: optional(TelemetryEntry),
    log: optional(
      Type.Object({ level: oneOf('debug', 'info', 'warn', 'error') }, { ...closed, ...words('{level: info}') }),
    ),
  },
  closed,
)
export type ConfigFile = Static<typeof ConfigFile>
