import { fields as names } from '../protocol/headers.ts'
import { parseAddress } from '../protocol/identifiers.ts'
import { type ApiAnswer, noMailboxHere, sent, unknown } from './api-answer.ts'
import { at } from './api-call.ts'
import { graphAnswer } from './graph-answer.ts'
import type { GraphMailbox } from './graph-mailbox.ts'
import { fieldText, type Letter } from './letter.ts'

/**
 * For a mail that an earlier attempt may have sent: `sent` if it lies in the mailbox, sent, with our stamp and the same recipients. Drafts that
 * such an attempt left are withdrawn. Null: it was not sent. Where there is no such mailbox the attempt went another way, and so does this one.
 */
export async function lookBefore(mailbox: GraphMailbox, letter: Letter): Promise<ApiAnswer | null> {
  const messageId = fieldText(letter.fields, 'message-id')
  const stamp = fieldText(letter.fields, names.handled.toLowerCase())
  if (messageId === null || stamp === null) return null
  const called = await mailbox.find(messageId)
  if (called.kind === 'reply' && graphAnswer(called.reply) === noMailboxHere) return noMailboxHere
  // A deferral would have the next attempt send without a look.
  if (called.kind !== 'reply' || called.reply.status !== 200)
    return unknown('whether an earlier attempt was sent cannot be seen')
  for (const message of listOf(at(called.reply.body, 'value'))) {
    const headers = listOf(at(message, 'internetMessageHeaders'))
    const stamped = headers.some((header) => at(header, 'name') === names.handled && at(header, 'value') === stamp)
    if (!stamped || !isFor(message, letter.recipients)) continue
    if (at(message, 'isDraft') === false) return sent('Microsoft Graph: found in Sent Items from an earlier attempt')
    const id = at(message, 'id')
    if (typeof id === 'string') await mailbox.purge(id)
  }
  return null
}

function isFor(message: unknown, recipients: readonly string[]): boolean {
  const found = ['toRecipients', 'ccRecipients', 'bccRecipients']
    .flatMap((name) => listOf(at(message, name)))
    .map((one) => parseAddress(String(at(one, 'emailAddress', 'address'))))
  const wanted = new Set(recipients.map(parseAddress))
  return new Set(found).size === wanted.size && found.every((address) => wanted.has(address))
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
