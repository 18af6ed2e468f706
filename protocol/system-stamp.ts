import { createHash } from 'node:crypto'
import type { Address, OrgId } from './identifiers.ts'

/** A system mail, as signer and verifier both see it: one plain part, its addresses without names, its subject decoded and unfolded. */
export type SystemMail = {
  readonly org: OrgId
  /** Unix seconds. A stamp is good for {@link STAMP_LIFE_SECONDS}. */
  readonly time: number
  readonly from: Address
  readonly to: Address
  readonly subject: string
  /** The body's octets as text, with any line ends. */
  readonly body: string
}

export type SystemStamp = {
  readonly org: string
  readonly time: number
  readonly kid: string
  readonly signature: Uint8Array
}

export const STAMP_LIFE_SECONDS = 3600

/** The octets that the stamp of a system mail signs with Ed25519 (docs/format.md): every content of the mail is bound by them. */
export function stampedOctets(mail: SystemMail): Uint8Array {
  const content = `${mail.from}\n${mail.to}\n${mail.subject.trim()}\n${canonicalBody(mail.body)}`
  const digest = createHash('sha256').update(content).digest('base64url')
  return Buffer.from(`sealpost/system/v1\n${mail.org}\n${mail.time}\n${digest}`)
}

/** CRLF line ends, no empty lines at the end, and no line end after the last line. */
export function canonicalBody(body: string): string {
  return body
    .replace(/\r\n|\r|\n/g, '\n')
    .replace(/\n+$/, '')
    .replaceAll('\n', '\r\n')
}

/** The value of the Sealpost-System field. */
export function formatSystemStamp(stamp: SystemStamp): string {
  const signature = Buffer.from(stamp.signature).toString('base64url')
  return `v=1; org=${stamp.org}; t=${stamp.time}; kid=${stamp.kid}; sig=${signature}`
}

/** The stamp in a field's value (folded or not), or null if it is not one of version 1. */
export function parseSystemStamp(value: string): SystemStamp | null {
  const pattern =
    /^v=1;\s+org=([a-z0-9.-]{1,253});\s+t=(\d{1,12});\s+kid=([A-Za-z0-9_-]{1,64});\s+sig=([A-Za-z0-9_-]{86})$/
  const [, org, time, kid, signature] = pattern.exec(value.trim()) ?? []
  if (org === undefined || time === undefined || kid === undefined || signature === undefined) return null
  return { org, time: Number(time), kid, signature: Buffer.from(signature, 'base64url') }
}
