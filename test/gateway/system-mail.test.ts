import { generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import { type Intake, readMemory } from '../../gateway/intake.ts'
import { createSystemMail } from '../../gateway/system-mail.ts'
import { type Address, parseAddress } from '../../protocol/identifiers.ts'
import { formatSystemStamp, stampedOctets } from '../../protocol/system-stamp.ts'
import { acme } from './sealed-mail.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const now = Date.parse('2026-11-22T14:00:00Z')
const address = (text: string) => parseAddress(text) as Address
const bob = address('bob@example.org')

const sender = address('no-reply@acme.example')
const time = Math.floor(now / 1000)

/** A code mail as a relay hands it on. */
function codeMail(): string {
  const subject = 'Your code'
  const body = '12345678\r\n\r\nThis is your code.\r\n'
  const octets = stampedOctets({ org: acme, time, from: sender, to: bob, subject, body })
  const stamp = formatSystemStamp({ org: acme, time, kid: 'the-key', signature: sign(null, octets, privateKey) })
  const header = `From: ${sender}\r\nTo: ${bob}\r\nSubject: ${subject}\r\nSealpost-System: ${stamp}\r\n`
  return `${header}Content-Type: text/plain\r\n\r\n${body}`
}

/** Whether the gateway lets it pass, so many seconds after it was stamped. */
async function passes(text: string, seconds: number, kid = 'the-key'): Promise<boolean> {
  const content = readMemory(Buffer.from(text))
  if (content === null) throw new Error('the header is too large')
  // Of an intake this is what is looked at.
  const looked: Pick<Intake, 'org' | 'recipients' | 'content'> = {
    org: acme,
    recipients: [{ address: bob, mailbox: bob, notify: null, orcpt: null }],
    content,
  }
  const keys = { find: async (asked: string) => (asked === kid ? publicKey : null) }
  const systemMail = createSystemMail({ keys, now: () => new Date(now + seconds * 1000) })
  return (await systemMail.recognise(looked as Intake)) !== null
}

t.test('a stamp is good for an hour, whatever the two clocks differ by a little', async (t) => {
  const mail = codeMail()
  for (const seconds of [-110, 0, 60, 3590]) t.equal(await passes(mail, seconds), true, `${seconds} s`)
  for (const seconds of [-130, 3610, 86_400, 365 * 86_400]) t.equal(await passes(mail, seconds), false, `${seconds} s`)
})

t.test('a stamp under a key that the key server does not name is none', async (t) => {
  t.equal(await passes(codeMail(), 0, 'another'), false)
})

t.test('a relay may fold, add trace fields and end the mail with empty lines', async (t) => {
  const mail = codeMail().replace('; sig=', ';\r\n\tsig=')
  t.equal(await passes(`Received: from a by b; Sun, 22 Nov 2026 14:00:00 +0000\r\n${mail}\r\n\r\n`, 5), true)
})
