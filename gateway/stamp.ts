import { createHash, timingSafeEqual } from 'node:crypto'
import { type EnvelopeId, type OrgId, parseEnvelopeId } from '../protocol/identifiers.ts'

/** The loop stamp, `Sealpost-Handled`: says of a mail that comes back that we may have made it. It proves nothing (docs/format.md). */
export type LoopStamp = { readonly org: OrgId; readonly id: EnvelopeId; readonly secret: string }

export function formatLoopStamp(stamp: LoopStamp): string {
  return `v=1; org=${stamp.org}; id=${stamp.id}; s=${stamp.secret}`
}

/** The envelope id of a stamp of this organization with the right secret, which is compared in constant time; else null. */
export function readLoopStamp(value: string, org: OrgId, secret: string): EnvelopeId | null {
  const pattern = /^v=1;\s+org=([a-z0-9.-]{1,253});\s+id=([A-Za-z0-9_-]{22});\s+s=([A-Za-z0-9_-]{1,128})$/
  const [, stampOrg, id, given] = pattern.exec(value.trim()) ?? []
  if (stampOrg !== org || id === undefined || given === undefined) return null
  return timingSafeEqual(digest(secret), digest(given)) ? parseEnvelopeId(id) : null
}

function digest(text: string): Uint8Array {
  return createHash('sha256').update(text).digest()
}
