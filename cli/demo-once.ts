import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { simpleParser } from 'mailparser'
import { createTransport } from 'nodemailer'
import { audit } from './audit.ts'
import type { House } from './house.ts'
import type { Caught, Inbox } from './inbox.ts'
import { createRecipient } from './recipient.ts'
import { type SampleMail, sampleMail } from './sample-mail.ts'

/** Where the demo's people meet: the house, and the catcher that plays its provider. */
export type Stage = { readonly house: House; readonly inbox: Inbox; readonly say: (line: string) => void }

/** A mail that went through the gateway, and what the provider got of it. */
export type Passage = {
  readonly mail: SampleMail
  readonly reply: string
  readonly caught: Caught
  readonly link: string
}

/** Sends the sample mail through the gateway and waits until the provider has it. Throws where either fails. */
export async function sendSample({ house, inbox }: Stage): Promise<Passage> {
  const mail = sampleMail(new Date())
  const transport = createTransport({ host: '127.0.0.1', port: house.ports.smtp, ignoreTLS: true })
  const before = new Set((await inbox.mails()).map((one) => one.id))
  const sent = await transport.sendMail({ envelope: { from: mail.sender, to: mail.recipient }, raw: mail.octets })
  transport.close()
  const caught = await inbox.wait(
    'the sealed mail',
    (one) => !before.has(one.id) && one.recipients.includes(mail.recipient),
  )
  const text = (await simpleParser(Buffer.from(await caught.source()))).text ?? ''
  const link = /https?:\/\/\S+\/m\/[\w-]{22}/.exec(text)?.[0]
  if (link === undefined) throw new Error('the mail that the provider got bears no link')
  return { mail, reply: sent.response, caught, link }
}

/**
 * Plays the recipient through the public API: asks for the code, takes it from the inbox, opens. Throws at the first thing that is not as it should
 * be: another message than was sent, plaintext at the provider, a log that does not verify.
 */
export async function playRecipient(
  stage: Stage,
  passage: Passage,
  step: <T>(what: string, work: () => Promise<T>) => Promise<T>,
): Promise<void> {
  const { house, inbox } = stage
  const envelope = passage.link.slice(-22)
  await step('the provider saw none of the text or the attachment', () => checkUnseen(passage))
  const recipient = await createRecipient({ origin: house.origin, fetch })
  const asked = new Set((await inbox.mails()).map((one) => one.id))
  await step('asked for a one-time code', () => recipient.askCode(envelope, passage.mail.recipient))
  const code = await step('the code came to the inbox', async () => {
    const mail = await inbox.wait(
      'the code',
      (one) => !asked.has(one.id) && one.recipients.includes(passage.mail.recipient),
    )
    const text = (await simpleParser(Buffer.from(await mail.source()))).text ?? ''
    const found = /\b\d{4}[ -]?\d{4}\b/.exec(text)?.[0]
    if (found === undefined) throw new Error('the mail with the code holds no code')
    return found.replace(/\D/g, '')
  })
  await step('proved the address with it', () => recipient.answer(code))
  const sealed = await step('fetched the sealed copy with a ticket', () => recipient.fetchCopy(envelope))
  await step('the key was released; what came out is what went in, octet for octet', async () => {
    const { message } = await recipient.open(envelope, sealed)
    if (digest(message) !== digest(passage.mail.octets)) throw new Error('what came out is not what went in')
  })
  await step('the log verifies, and tells of the release', () => checkLog(house, envelope))
}

/** No line of 20 or more characters of the text or the attachment stands in what the provider got, decoded or not. */
async function checkUnseen({ mail, caught }: Passage): Promise<void> {
  const source = Buffer.from(await caught.source())
  const stored = [source.toString('utf8'), ...(await wordsOf(source))].join('\n')
  const lines = (await wordsOf(mail.octets)).flatMap((words) => words.split(/\r?\n/)).map((line) => line.trim())
  const seen = lines.find((line) => line.length >= 20 && stored.includes(line))
  if (seen !== undefined) throw new Error(`the provider saw this line: ${seen}`)
}

/** All that a mail program would show or save of a mail. */
async function wordsOf(octets: Buffer): Promise<string[]> {
  const { text, html, attachments } = await simpleParser(octets)
  return [text ?? '', html || '', ...attachments.map((one) => one.content.toString('utf8'))]
}

async function checkLog(house: House, envelope: string): Promise<void> {
  await sleep(1500) // a checkpoint is signed each second
  const said: string[] = []
  const stderr = { write: (text: string) => said.push(text) }
  const quiet = { stdout: stderr, stderr }
  if ((await audit(['verify', house.database], quiet)) !== 0)
    throw new Error(`the log does not verify: ${said.join('')}`)
  said.length = 0
  await audit(['show', house.database, '--log', 'acme.example', '--envelope', envelope], quiet)
  if (!said.some((line) => /releas/i.test(line))) throw new Error('the log does not tell of the release')
}

function digest(octets: Uint8Array): string {
  return createHash('sha256').update(octets).digest('hex')
}
