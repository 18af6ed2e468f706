import { randomBytes } from 'node:crypto'
import { fields } from '../protocol/headers.ts'
import { type Address, domainOf, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { formatSystemStamp, stampedOctets } from '../protocol/system-stamp.ts'
import type { Signer } from './keyring.ts'

/** A mail of the key server's own: plain, 7-bit, one part, no line that a relay would touch. */
export type SystemMessage = {
  readonly from: Address
  readonly to: Address
  readonly subject: string
  readonly text: string
  readonly messageId: string
  readonly headers: Readonly<Record<string, string>>
}

export type CodeMail = {
  readonly org: OrgId
  /** From of the organization's system mail. */
  readonly from: string
  /** As recorded at issue. */
  readonly to: Address
  /** The proven sender of the message, null for `<>`. */
  readonly sender: Address | null
  readonly code: string
  /** Milliseconds. */
  readonly now: number
}

/** Longer lines may be folded by a mailer, and then the stamp would not hold. */
const LONGEST_LINE = 72

/**
 * The mail that carries a one-time code. It says only what the recipient already knows, and holds no link: whoever asked has the page
 * open. Signed as system mail (Sealpost-System) over addresses, subject and body. Throws if `from` is no address.
 */
export function composeCodeMail(mail: CodeMail, signer: Signer): SystemMessage {
  const from = parseAddress(mail.from)
  if (from === null) throw new Error(`the sender of code mails of ${mail.org} is not an address`)
  const subject = 'Your code to open a protected message'
  const text = codeText(mail)
  const time = Math.floor(mail.now / 1000)
  const octets = stampedOctets({ org: mail.org, time, from, to: mail.to, subject, body: text })
  const stamp = formatSystemStamp({ org: mail.org, time, kid: signer.kid, signature: signer.sign(octets) })
  return {
    from,
    to: mail.to,
    subject,
    text,
    messageId: `<${randomBytes(16).toString('hex')}@${domainOf(from)}>`,
    headers: { 'Auto-Submitted': 'auto-generated', [fields.system]: stamp },
  }
}

function codeText({ org, sender, code }: CodeMail): string {
  const origin = [`a protected message of ${org}`, ...(sender === null ? [] : [`sent by ${sender}`])]
  const shown = origin.filter((line) => line.length <= LONGEST_LINE && /^[\x21-\x7e ]*$/.test(line))
  const lines = [
    code,
    '',
    'This is your one-time code to open',
    ...shown,
    '',
    'Type it into the page on which you asked for it. It works only there,',
    'and only for the next ten minutes.',
    '',
    'If you did not ask for a code, you need not do anything: without it',
    'nobody can open the message. Please give it to nobody; nobody of ours',
    'will ever ask you for it.',
    '',
  ]
  return lines.join('\n')
}
