import type { OrgId } from '../protocol/identifiers.ts'
import type { TelemetryConfig } from '../telemetry/config.ts'

/** The key server's configuration with every path made absolute and every secret read. See keyserver.sample.yaml. */
export type Config = {
  readonly organizations: Readonly<Record<OrgId, Organization>>
  /** Folder of the policy files. */
  readonly policies: string
  /** The database file. */
  readonly database: string
  /** Octets on the database's disk: what ordinary works leave free, and the reserve for what must not wait. */
  readonly disk: { readonly keepFree: number; readonly reserve: number }
  readonly keyStore: string
  readonly kek: { readonly file: string }
  readonly public: Listener & {
    /** The origin that people's links lead to: `https://open.acme.example`. */
    readonly url: string
    readonly tls: Tls | null
    /** Addresses or ranges of proxies whose X-Forwarded-For is believed. */
    readonly trustedProxies: readonly string[]
  }
  readonly gatewayListener: Listener & { readonly tls: Tls & { readonly ca: string } }
  readonly ops: Listener
  readonly gateways: Readonly<Record<string, GatewayAccess>>
  readonly officers: Readonly<Record<string, { readonly organizations: readonly OrgId[] }>>
  /** Where code mails go: the provider, or a gateway. */
  readonly mail: {
    readonly host: string
    readonly port: number
    /** `starttls` and `tls` verify the name; `none` is plain. */
    readonly security: 'none' | 'starttls' | 'tls'
    /** PEM of the authorities to believe, null for the system's. */
    readonly ca: string | null
    readonly user: string | null
    readonly password: string | null
  }
  readonly limits: Limits
  /** Days that a bucket's key outlives its last envelope. */
  readonly graceDays: number
  /** Null: nothing is measured. */
  readonly telemetry: TelemetryConfig | null
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' }
}

export type Organization = {
  /** Its gateways can tell whether a recipient's host gives verified TLS, so that rules may ask for it. */
  readonly recipientTls: boolean
  /** Origin of this organization's links; null: that of `public.url`. */
  readonly url: string | null
  /** From of the code mails. */
  readonly from: string
  /** Its own mail domains, comparable form. */
  readonly domains: readonly string[]
}

export type GatewayAccess = {
  readonly organizations: readonly OrgId[]
  /** Where browsers fetch sealed copies: `https://copies.acme.example`; the path is /e/<id>. */
  readonly copies: string
}

export type Listener = { readonly host: string; readonly port: number }

export type Tls = { readonly cert: string; readonly key: string; readonly ca: string | null }

export type Limits = {
  readonly codesPerAddressPerHour: number
  readonly codesPerNetworkPerHour: number
  readonly wrongCodesPerAddressPerDay: number
  /** How many messages one person may open in an hour; more is bulk, and refused as `too-many`. */
  readonly opensPerPersonPerHour: number
  /** Proven or not, from one /24 or /48. */
  readonly requestsPerNetworkPerMinute: number
  readonly sessionHours: number
}
