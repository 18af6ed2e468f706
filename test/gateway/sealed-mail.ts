import { randomBytes } from 'node:crypto'
import type { SealedParts } from '../../gateway/compose.ts'
import type { OutgoingMail } from '../../gateway/courier.ts'
import { type HeaderField, parseHeader } from '../../gateway/header.ts'
import { inMemory, type SealedCopy } from '../../gateway/sealing.ts'
import type { Address, EnvelopeId, OrgId } from '../../protocol/identifiers.ts'

export const envelopeId = 'dGhpcyBpcyBhIHRlc3QhIQ' as EnvelopeId
export const acme = 'acme.example' as OrgId

/** The fields of a message, whose line ends may be bare. */
export function fieldsIn(message: string | Uint8Array): readonly HeaderField[] {
  const header = parseHeader(typeof message === 'string' ? Buffer.from(message, 'latin1') : message)
  if (header === null) throw new Error('the header is too large')
  return header.fields
}

/** Octets that begin as an envelope does. */
export function copyOf(size: number): SealedCopy {
  return inMemory(Buffer.concat([Buffer.from([0x02, 0x04, 0x78]), randomBytes(size - 3)]), size)
}

/** The parts of a mail around the header of `message`. */
export function partsOf(message: string | Uint8Array, extra: Partial<SealedParts> = {}): SealedParts {
  return {
    org: acme,
    organization: 'Acme',
    envelope: envelopeId,
    link: `https://mail.acme.example/m/${envelopeId}`,
    expiresAt: '2026-12-22T14:05:00.000Z',
    sender: 'anna@acme.example' as Address,
    recipients: ['bo@example.org' as Address],
    fields: fieldsIn(message),
    received:
      'from mua.acme.example ([192.0.2.7])\r\n\tby gw.acme.example with ESMTPS id x;\r\n\tSun, 22 Nov 2026 14:05:00 +0000',
    handled: `v=1; org=acme.example; id=${envelopeId}; s=c2VjcmV0`,
    towardsMicrosoft: false,
    sealed: copyOf(4000),
    now: new Date('2026-11-22T14:05:00Z'),
    ...extra,
  }
}

export async function octetsOf(mail: OutgoingMail): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of mail.open()) chunks.push(chunk)
  return Buffer.concat(chunks)
}
