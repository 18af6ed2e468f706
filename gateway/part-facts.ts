import { setImmediate } from 'node:timers/promises'
import { bounds, createMessageText, type OutboundFacts, type OutboundReads } from '../rulebook/index.ts'
import { kindOf } from './attachment-kind.ts'
import type { Content } from './intake.ts'
import { isAttachment, isMessage, isMultipart, type Part } from './mime-part.ts'
import { createPartScan, type PartScan } from './mime-parts.ts'
import { createPartContent, type PartContent } from './part-content.ts'
import { createUuencodedSearch } from './uuencoded.ts'

type MessageFacts = OutboundFacts['message']
type Told = ReturnType<PartContent['finish']>

/** The parts of a message, and what the bodies of those say that rules ask about. */
export async function readParts(content: Content, message: Part, reads: OutboundReads) {
  const contents = new Map<Part, PartContent>()
  const room = reads.text ? { left: bounds.textOctets } : null
  const asks = room !== null || reads.kinds || reads.contents
  const scan = createPartScan(message, (part) => {
    const asked = room !== null || (isAttachment(part) && (reads.kinds || reads.contents))
    if (!asked) return null
    const own = createPartContent(part, { whole: reads.contents && isAttachment(part), room })
    contents.set(part, own)
    return own
  })
  const files = createUuencodedSearch()
  const feed = (octets: Uint8Array) => {
    scan.feed(octets)
    if (asks) files.feed(octets)
  }
  if (isMultipart(message) || isMessage(message) || asks) {
    if (content.octets !== null) feed(content.octets.subarray(content.header.end))
    else await feedInTurns(feed, content.body(), asks)
  }
  const told = new Map<Part, Told>()
  const { parts, malformed, whole } = scan.finish()
  for (const [part, own] of contents) told.set(part, own.finish())
  const hidden = files.found()
  return { parts, malformed: malformed || hidden, whole: whole && !hidden, contents: told }
}

/** Octets that are decoded before other mail has its turn. */
const TURN = 512 * 1024

async function feedInTurns(feed: PartScan['feed'], body: AsyncIterable<Uint8Array>, turns: boolean): Promise<void> {
  for await (const chunk of body) {
    if (!turns) {
      feed(chunk)
      continue
    }
    for (let at = 0; at < chunk.length; at += TURN) {
      feed(chunk.subarray(at, at + TURN))
      await setImmediate()
    }
  }
}

export function attachmentOf(part: Part, told: Told | undefined): MessageFacts['attachments'][number] {
  const { kind, size, locked } = told ?? { kind: kindOf(part.filename, part.type, NOTHING), size: 0, locked: false }
  return { name: part.filename, type: part.type, kind, size, locked }
}

const NOTHING = new Uint8Array()

/** The text with the answers to the patterns of all rules; a long one is looked through with pauses for other mail. */
export async function readText(
  reads: OutboundReads,
  parts: readonly Part[],
  contents: ReadonlyMap<Part, Told>,
  whole: boolean,
  deadline: AbortSignal | undefined,
): Promise<Pick<MessageFacts, 'text' | 'textWhole'>> {
  if (!reads.text) return { text: createMessageText(''), textWhole: true }
  const subjects = parts.map(({ subject }) => subject).filter((subject) => subject !== '')
  const texts = [...contents.values()].map(({ text }) => text).filter((text) => text !== null)
  const text = createMessageText([...subjects, ...texts.map((one) => one.text)].join('\n'))
  await text.prepare(reads.patterns, async () => {
    await setImmediate()
    deadline?.throwIfAborted()
  })
  return { text, textWhole: whole && texts.every((one) => one.whole) }
}
