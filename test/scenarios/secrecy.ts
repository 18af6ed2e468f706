import { type Attachment, simpleParser } from 'mailparser'
import { fieldsOf, split } from './corpus.ts'

/** A shorter line is in too much that has nothing to do with it. Characters. */
const SHORTEST = 20
const DEEPEST = 4

const kept =
  /^(?:received|resent-(?:date|from|sender|to|cc|message-id)|from|sender|reply-to|to|cc|date|message-id|in-reply-to|references|thread-index|auto-submitted|precedence|x-auto-response-suppress|list-[^:]*|importance|msip_labels|subject)[ \t]*:/i

/** Every line of body and attachments that a mail program, or a person with a decoder, could read: as sent, and decoded. */
export async function secretLines(message: Uint8Array): Promise<ReadonlySet<string>> {
  const body = split(Buffer.from(message).toString('latin1')).rest
  const texts = [body, Buffer.from(body, 'latin1').toString('utf8'), ...(await decoded(message, 0)), ...unbase64(body)]
  const lines = texts.flatMap((text) => text.split(/\r\n|\r|\n/)).map((line) => line.trim())
  return new Set(lines.filter((line) => line.length >= SHORTEST))
}

/** Those of the lines that stand in what the provider got, raw or decoded, and in neither a kept field of the message nor `template`. */
export async function leaks(
  lines: ReadonlySet<string>,
  { message, outgoing, template }: { message: Uint8Array; outgoing: Uint8Array; template: string },
): Promise<string[]> {
  const seen = await visible(outgoing)
  const found = [...lines].filter((line) => seen.includes(line))
  if (found.length === 0) return []
  const excused = `${await keptText(message)}\n${template}`
  return found.filter((line) => !excused.includes(line))
}

/** Everything in a mail: raw, and decoded. */
export async function visible(mail: Uint8Array): Promise<string> {
  const buffer = Buffer.from(mail)
  const { subject, headerLines } = await simpleParser(buffer)
  const headers = headerLines.map(({ line }) => line.replace(/\r?\n(?=[ \t])/g, ''))
  const parts = await decoded(mail, 0)
  return [buffer.toString('latin1'), buffer.toString('utf8'), subject ?? '', ...headers, ...parts].join('\n')
}

/** What of the header may be seen: the kept fields, as sent, unfolded and decoded. */
async function keptText(message: Uint8Array): Promise<string> {
  const fields = fieldsOf(split(Buffer.from(message).toString('latin1')).header).filter((field) => kept.test(field))
  const raw = fields.join('')
  const { headers, subject } = await simpleParser(Buffer.from(raw, 'latin1'))
  const values = [...headers.values()].map((value) => JSON.stringify(value))
  return [raw, Buffer.from(raw, 'latin1').toString('utf8'), raw.replace(/\r\n(?=[ \t])/g, ''), subject, ...values].join(
    '\n',
  )
}

/** Texts and attachments, and those of messages in it. */
async function decoded(mail: Uint8Array, depth: number): Promise<string[]> {
  const { text, html, attachments } = await simpleParser(Buffer.from(mail), { skipTextToHtml: true })
  const inner = await Promise.all(attachments.map((one) => attached(one, depth)))
  return [text ?? '', html || '', ...inner.flat()]
}

async function attached({ content, contentType }: Attachment, depth: number): Promise<string[]> {
  const own = [content.toString('utf8'), content.toString('latin1')]
  return contentType === 'message/rfc822' && depth < DEEPEST ? [...own, ...(await decoded(content, depth + 1))] : own
}

/** Blocks of base64, wherever they stand: also where the MIME around them is broken. */
function unbase64(body: string): string[] {
  const blocks = body.match(/(?:^[A-Za-z0-9+/]{40,76}\r\n)+[A-Za-z0-9+/]*={0,2}/gm) ?? []
  return blocks.map((block) => Buffer.from(block, 'base64').toString('utf8'))
}
