import type { SealedParts } from '../gateway/compose.ts'
import { parseHeader } from '../gateway/header.ts'
import { mailDate } from '../gateway/outgoing-header.ts'
import { inMemory } from '../gateway/sealing.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { NoticeChoice } from '../rulebook/index.ts'

export type SampleNotice = {
  /** Null: acme.example. */
  readonly org: OrgId | null
  /** The organization's name for people; null: its id. */
  readonly organization: string | null
  readonly ttlSeconds: number
  readonly choice: NoticeChoice
  readonly attached: boolean
}

/** A sealed mail that never was: what the notice of a real one is made from. Its envelope opens nothing. */
export function sampleNoticeParts({ org, organization, ttlSeconds, choice, attached }: SampleNotice): SealedParts {
  const id = org ?? ('acme.example' as OrgId)
  const now = new Date()
  const sender = `anna@${id}` as Address
  const recipients = ['bob@example.org', 'carla@example.net'] as Address[]
  const envelope = Buffer.from('a sample letter.').toString('base64url') as EnvelopeId
  const message =
    `From: Anna <${sender}>\r\nTo: ${recipients.join(', ')}\r\nSubject: A sample\r\n` +
    `Date: ${mailDate(now)}\r\nMessage-ID: <sample@${id}>\r\n\r\n`
  return {
    org: id,
    organization: organization ?? id,
    envelope,
    link: `https://mail.${id}/m/${envelope}`,
    expiresAt: new Date(now.getTime() + ttlSeconds * 1000).toISOString(),
    sender,
    recipients,
    fields: parseHeader(Buffer.from(message))?.fields ?? [],
    received: `from mua.${id} ([192.0.2.7])\r\n\tby gateway.${id} with ESMTPS id sample;\r\n\t${mailDate(now)}`,
    handled: `v=1; org=${id}; id=${envelope}; s=sample`,
    notice: choice,
    towardsMicrosoft: false,
    // Begins as an envelope does, or the last look would not let it out.
    sealed: attached ? inMemory(Buffer.from('\x02\x04\x78 a sample', 'latin1'), 0) : null,
    now,
  }
}
