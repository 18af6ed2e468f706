import { createHash, timingSafeEqual, type X509Certificate } from 'node:crypto'
import type { BlockList } from 'node:net'
import { fields } from '../protocol/headers.ts'
import { type Address, domainOf, type OrgId } from '../protocol/identifiers.ts'
import type { ClientCertificate } from './client-certificate.ts'
import type { GatewayErrorCode } from './error.ts'
import { fieldsOf, type Header } from './header.ts'

/**
 * How a client proves for which organization it sends (DESIGN, life of a message, 1). Pure. Nothing proves anything unless a rule of the
 * configuration says so: without rules every client is refused.
 */
export type ProofRule =
  /** Whoever reaches this listener: for loopback. */
  | { readonly kind: 'listener'; readonly org: OrgId }
  | { readonly kind: 'range'; readonly org: OrgId; readonly ranges: BlockList }
  /** From these shared addresses, whoever knows the organization's tenant secret. */
  | { readonly kind: 'tenant'; readonly org: OrgId; readonly ranges: BlockList; readonly secret: string }
  /** Whoever shows a certificate for one of the names, from these ranges if there are any, and with the secret if there is one. */
  | {
      readonly kind: 'certificate'
      readonly org: OrgId
      readonly authorities: readonly X509Certificate[]
      /** Lower case. */
      readonly names: readonly string[]
      readonly ranges: BlockList | null
      readonly secret: string | null
    }

/** All the authorities of client certificates; none: no client need be asked for one. */
export function authoritiesOf(rules: readonly ProofRule[]): readonly X509Certificate[] {
  return rules.flatMap((rule) => (rule.kind === 'certificate' ? rule.authorities : []))
}

export type Client = {
  readonly address: string
  /** Who signed in, and for which organization that account sends; null if nobody did. */
  readonly account: { readonly user: string; readonly org: OrgId } | null
  readonly certificate?: ClientCertificate | null
  /** A balancer has not said whose the address is: then it proves nothing. */
  readonly nobody?: boolean
}

/** For which organizations the client may send; those in `onSecret` only if the message carries their tenant secret. */
export type Proof = { readonly proven: readonly OrgId[]; readonly onSecret: readonly TenantProof[] }
type TenantProof = { readonly org: OrgId; readonly secret: string }

/** What connection and sign-in prove. An account is the whole of what it proves, wherever it comes from. */
export function proveClient(rules: readonly ProofRule[], client: Client): Proof {
  if (client.account !== null) return { proven: [client.account.org], onSecret: [] }
  const proven: OrgId[] = []
  const onSecret: TenantProof[] = []
  for (const rule of rules) {
    if (!holds(rule, client)) continue
    const secret = rule.kind === 'tenant' || rule.kind === 'certificate' ? rule.secret : null
    if (secret === null) proven.push(rule.org)
    else onSecret.push({ org: rule.org, secret })
  }
  return { proven, onSecret: onSecret.filter((tenant) => !proven.includes(tenant.org)) }
}

function holds(rule: ProofRule, client: Client): boolean {
  const { address, certificate = null, nobody = false } = client
  const isIn = (ranges: BlockList) => !nobody && ranges.check(address, address.includes(':') ? 'ipv6' : 'ipv4')
  switch (rule.kind) {
    case 'listener':
      return !nobody
    case 'range':
    case 'tenant':
      return isIn(rule.ranges)
    case 'certificate':
      if (rule.ranges !== null && !isIn(rule.ranges)) return false
      return certificate?.isIssuedFor(rule.authorities, rule.names) ?? false
  }
}

type Refusal = { readonly kind: 'refused'; readonly code: GatewayErrorCode }

/**
 * What is left of a proof once MAIL FROM is known: the organizations whose domains it lies in, or all for `<>` (RFC 5321 4.5.5).
 * `domainsOf` gives the domains of an organization's active policy, or null while none is known.
 */
export function proveSender(
  proof: Proof,
  sender: Address | null,
  domainsOf: (org: OrgId) => readonly string[] | null,
): Refusal | { readonly kind: 'proven'; readonly proof: Proof } {
  if (proof.proven.length + proof.onSecret.length === 0) return { kind: 'refused', code: 'not-proven' }
  if (sender === null) return { kind: 'proven', proof }
  const domain = domainOf(sender)
  const own = (org: OrgId) => domainsOf(org)?.includes(domain) ?? false
  const proven = proof.proven.filter(own)
  const onSecret = proof.onSecret.filter((tenant) => own(tenant.org))
  if (proven.length + onSecret.length > 0) return { kind: 'proven', proof: { proven, onSecret } }
  const orgs = [...proof.proven, ...proof.onSecret.map((tenant) => tenant.org)]
  return { kind: 'refused', code: orgs.some((org) => domainsOf(org) === null) ? 'policy' : 'foreign-sender' }
}

/**
 * The one organization, once the header is in. A tenant secret counts only in the one field of either name, alone, and is compared in
 * constant time.
 */
export function proveMessage(proof: Proof, header: Header): Refusal | { readonly kind: 'proven'; readonly org: OrgId } {
  const [org, other] = [...new Set([...proof.proven, ...bySecret(proof.onSecret, header)])]
  if (org === undefined) return { kind: 'refused', code: 'tenant-secret' }
  return other === undefined ? { kind: 'proven', org } : { kind: 'refused', code: 'which-organization' }
}

function bySecret(tenants: readonly TenantProof[], header: Header): OrgId[] {
  const [field, second] = [fields.tenant, fields.tenantX].flatMap((name) => fieldsOf(header, name))
  if (field === undefined || second !== undefined) return []
  const given = digest(field.value)
  // Every secret is compared, so that the time tells nothing about which one was met.
  return tenants.filter((tenant) => timingSafeEqual(digest(tenant.secret), given)).map((tenant) => tenant.org)
}

function digest(secret: string): Uint8Array {
  return createHash('sha256').update(secret).digest()
}
