import type { Release } from '../protocol/reader-api.ts'
import { h } from './element.ts'
import { saveFile, sizeInWords } from './file.ts'
import { createMessageFrame } from './frame.ts'
import { cleanHtml } from './html.ts'
import { linkedText } from './linked-text.ts'
import { type Message, type SavedFile, type Section, safeName } from './message.ts'
import { revokeControl } from './revoke-control.ts'
import { spanInWords, timeInWords } from './time.ts'
import type { Trusted } from './trusted.ts'

export type Letter = {
  readonly release: Release
  /** Null if it could not be read as mail. */
  readonly message: Message | null
  /** The whole message as it was sealed. */
  readonly octets: Uint8Array<ArrayBuffer>
  readonly trusted: Trusted
  readonly now: number
  readonly onRevoke: () => void
  /** The proven address. */
  readonly person: string
  readonly onForget: () => void
}

/** Of the sender's words: of any direction, and in a language that nobody knows, or they would be read aloud as English. */
const FOREIGN = { dir: 'auto', lang: '' }

/** The message: who sent it, as the key server vouches, what it says, what came with it. */
export function letterView(letter: Letter): HTMLElement {
  const { message, release } = letter
  const subject = message?.subject.trim() || 'Message without a subject'
  return h(
    'article',
    { class: 'letter' },
    h('h1', FOREIGN, subject),
    envelopeList(letter),
    h('div', { class: 'body' }, ...bodyParts(letter)),
    message === null || message.files.length === 0 ? null : fileList(message.files),
    h(
      'div',
      { class: 'row end' },
      h(
        'button',
        { type: 'button', class: 'quiet', click: () => saveWhole(letter, subject) },
        'Save the whole message (.eml)',
      ),
      release.role === 'sender' ? revokeControl(letter.onRevoke) : null,
    ),
    h(
      'p',
      { class: 'small person' },
      `Opened for ${letter.person}. Other messages for this address open here without a new code for a while. `,
      h('button', { type: 'button', class: 'quiet', click: letter.onForget }, 'Forget me on this device'),
    ),
  )
}

function saveWhole({ octets }: Letter, subject: string): void {
  saveFile(`${safeName(subject) || 'message'}.eml`, octets)
}

function envelopeList({ release, message, now }: Letter): HTMLElement {
  const sender =
    release.sender === null
      ? h('dd', {}, `An automatic message of ${release.org}`, seal())
      : h(
          'dd',
          {},
          h('strong', {}, release.sender),
          seal(),
          h('span', { class: 'small block' }, `Sent through ${release.org}`),
        )
  // It was released just now: where the time is past, the clock here is wrong.
  const span = Date.parse(release.expiresAt) > now ? ` (${spanInWords(release.expiresAt, now)} from now)` : ''
  const expiry = `${timeInWords(release.expiresAt)}${span}`
  return h(
    'dl',
    {},
    ...pair('From', sender),
    ...claimedSender(release, message),
    ...people('To', message?.to),
    ...people('Cc', message?.cc),
    ...pair('Sent', h('dd', {}, timeInWords(release.issuedAt))),
    ...pair('Can be opened until', h('dd', {}, expiry)),
  )
}

function seal(): HTMLElement {
  return h(
    'span',
    { class: 'proven', title: 'The organization has shown that this sender is who they say' },
    'Verified',
  )
}

/** What the message itself says about its sender, where that is not what was proven. */
function claimedSender({ sender }: Release, message: Message | null): HTMLElement[] {
  const from = message?.from
  if (!from || from.address === '' || from.address.toLowerCase() === sender?.toLowerCase()) return []
  const shown = from.name === '' ? from.address : `${from.name} <${from.address}>`
  const note = h('span', { class: 'small block' }, 'This is what the message says. It was not verified.')
  return pair('Says it is from', h('dd', { class: 'doubtful' }, shown, note))
}

function people(label: string, addresses: readonly string[] = []): HTMLElement[] {
  if (addresses.length === 0) return []
  if (addresses.length <= 6) return pair(label, h('dd', {}, addresses.join(', ')))
  const all = h(
    'details',
    {},
    h('summary', {}, `${addresses[0]} and ${addresses.length - 1} more`),
    addresses.join(', '),
  )
  return pair(label, h('dd', {}, all))
}

function pair(label: string, value: HTMLElement): HTMLElement[] {
  return [h('dt', {}, label), value]
}

function bodyParts(letter: Letter): HTMLElement[] {
  const { message } = letter
  if (message === null) {
    return [
      notice(
        'This message cannot be shown here.',
        'It is whole and unaltered, but not written in a way that this page can read. Save it, and open it with your mail program.',
      ),
    ]
  }
  if (message.sealedAgain === 'smime-signed') {
    return [
      notice(
        'The sender has signed this message with S/MIME, in a form that this page cannot show.',
        'Save it with the button below, and open it with your mail program.',
      ),
    ]
  }
  if (message.sealedAgain !== null) {
    const method = message.sealedAgain === 'smime' ? 'S/MIME' : 'PGP'
    return [
      notice(
        `The sender has encrypted this message once more, with ${method}.`,
        'Save it with the button below, and open it with the mail program that has your key.',
      ),
    ]
  }
  if (message.sections.length === 0)
    return [notice('This message has no text.', message.files.length > 0 ? 'It brings only attachments.' : '')]
  return message.sections.map((section, i) => sectionView(section, i, letter))
}

function notice(title: string, text: string): HTMLElement {
  return h('div', { class: 'notice' }, h('strong', {}, title), ' ', text)
}

function sectionView(section: Section, index: number, { message, trusted }: Letter): HTMLElement {
  if (section.kind === 'text') return h('div', { class: 'text', ...FOREIGN }, linkedText(section.text.trimEnd()))
  const clean = cleanHtml(section.html, message?.images ?? new Map())
  const title = index === 0 ? 'Text of the message' : `Text of the message, part ${index + 1}`
  const { frame, gauge } = createMessageFrame(clean, title, trusted)
  const { remoteImages } = clean
  const pictures = remoteImages === 1 ? 'A picture' : `${remoteImages} pictures`
  return h(
    'div',
    { class: 'part' },
    remoteImages === 0
      ? null
      : h(
          'p',
          { class: 'small' },
          `${pictures} would have to be fetched from the internet, which would tell others that you read this. Not shown.`,
        ),
    frame,
    gauge,
    section.text === null ? null : plainToggle(frame, section.text),
  )
}

function plainToggle(frame: HTMLElement, text: string): HTMLElement {
  const plain = h('div', { class: 'text', ...FOREIGN, hidden: '' }, linkedText(text.trimEnd()))
  const button = h('button', { type: 'button', class: 'quiet' }, 'Show as plain text')
  button.addEventListener('click', () => {
    plain.hidden = !plain.hidden
    frame.hidden = !plain.hidden
    button.textContent = plain.hidden ? 'Show as plain text' : 'Show as it was formatted'
  })
  return h('div', {}, plain, button)
}

function fileList(files: readonly SavedFile[]): HTMLElement {
  const heading = files.length === 1 ? 'One attachment' : `${files.length} attachments`
  return h('section', { class: 'files' }, h('h2', {}, heading), h('ul', {}, ...files.map(fileItem)))
}

function fileItem({ name, octets }: SavedFile): HTMLElement {
  const save = h(
    'button',
    { type: 'button', class: 'second', 'aria-label': `Save ${name}`, click: () => saveFile(name, octets) },
    'Save',
  )
  return h(
    'li',
    {},
    h('div', {}, h('span', { class: 'name' }, name), h('span', { class: 'small block' }, sizeInWords(octets.length))),
    save,
  )
}
