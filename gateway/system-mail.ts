import { verify } from 'node:crypto'
import { fields } from '../protocol/headers.ts'
import { parseSystemStamp, STAMP_LIFE_SECONDS, stampedOctets } from '../protocol/system-stamp.ts'
import { parseAddressList } from './address-list.ts'
import { fieldsOf, type HeaderField } from './header.ts'
import type { Intake } from './intake.ts'
import { readPart } from './mime-part.ts'
import { decodeWords } from './mime-words.ts'
import type { SigningKeyRing } from './signing-keys.ts'

/**
 * Mail of the key server's own (codes, notices), which is passed and never sealed: only if its signed stamp covers sender, recipient,
 * subject and body, and nothing else in it can carry anything.
 */
export type SystemMail = {
  /** The fields that may go on, if this is system mail of the intake's organization; else null. */
  recognise(intake: Intake): Promise<readonly HeaderField[] | null>
}

/** Octets. Codes and notices are short. */
const SIZE_LIMIT = 65_536
const SKEW_SECONDS = 120

/** What the stamp covers, what names the mail, and what says how to read plain text; no free text besides. */
const passing = new Set([
  ...['from', 'to', 'subject', 'date', 'message-id', 'auto-submitted', 'mime-version', 'content-type'],
  ...['content-transfer-encoding', 'x-auto-response-suppress', 'received'],
])

export function createSystemMail(parts: { readonly keys: SigningKeyRing; readonly now: () => Date }): SystemMail {
  return {
    async recognise(intake) {
      const { header, octets } = intake.content
      const [field, second] = fieldsOf(header, fields.system)
      if (field === undefined || second !== undefined || octets === null || octets.length > SIZE_LIMIT) return null
      const stamp = parseSystemStamp(field.value)
      if (stamp === null || stamp.org !== intake.org) return null
      const age = parts.now().getTime() / 1000 - stamp.time
      if (age < -SKEW_SECONDS || age > STAMP_LIFE_SECONDS) return null
      const mail = readPlain(intake, octets)
      if (mail === null) return null
      const key = await parts.keys.find(stamp.kid)
      if (key === null) return null
      const signed = stampedOctets({ org: intake.org, time: stamp.time, ...mail })
      if (!verify(null, signed, key, stamp.signature)) return null
      return header.fields.filter((one) => passing.has(one.key))
    },
  }
}

/** What a stamp covers of this message; null if it is more than a plain mail from one address to its one recipient. */
function readPlain(intake: Intake, octets: Uint8Array) {
  const { header } = intake.content
  const [recipient, other] = intake.recipients
  const from = only(intake, 'from')
  const to = only(intake, 'to')
  const subjects = fieldsOf(header, 'subject')
  const part = readPart(header)
  const encoding = fieldsOf(header, 'content-transfer-encoding')[0]?.value.toLowerCase() ?? '7bit'
  const plain = part.type === 'text/plain' && part.filename === '' && !part.doubtful && encoding === '7bit'
  if (from === null || to === null || subjects.length !== 1 || !plain) return null
  if (recipient === undefined || other !== undefined || recipient.address !== to) return null
  if (intake.content.eightBit || header.fields.some((field) => field.key === '')) return null
  const subject = decodeWords(subjects[0]?.value ?? '')
  return { from, to, subject, body: Buffer.from(octets.subarray(header.bodyStart)).toString('latin1') }
}

/** The one address of the one field of that name. */
function only(intake: Intake, name: string) {
  const [field, second] = fieldsOf(intake.content.header, name)
  const [address, other] = field === undefined || second !== undefined ? [] : (parseAddressList(field.value) ?? [])
  return address === undefined || other !== undefined ? null : address
}
