/** Header fields of our own, by the names under which gateway and key server know them. RFC 5322 field names are case-insensitive. */
export const fields = {
  /** Stamped by the organization's own routing rule; proves the tenant where a provider's addresses are shared. Removed. */
  tenant: 'Sealpost-Tenant',
  /** The same, where a provider puts `X-` before the name of every field that it adds. */
  tenantX: 'X-Sealpost-Tenant',
  /** `v=1; org=<id>; id=<envelope id>; s=<loop secret>` on what the gateway sealed; see docs/format.md. */
  handled: 'Sealpost-Handled',
  /** `v=1; org=<id>; t=<unix seconds>; kid=<kid>; sig=<base64url Ed25519>` on system mail; see docs/format.md. */
  system: 'Sealpost-System',
  /** The sender's wish for a time to live, such as `7d`. */
  ttl: 'Sealpost-TTL',
} as const
