import { h } from './element.ts'
import { filePicker } from './file-picker.ts'

/** Asks for the attachment, where the page was opened without a link to a message. `because` says what was wrong with the last file. */
export function fileStep({ because, onFile }: { because: string | null; onFile: (file: File) => void }): HTMLElement {
  return h(
    'div',
    { class: 'card' },
    h('h1', {}, 'Open a protected message'),
    h(
      'p',
      {},
      'Choose the file ',
      h('span', { class: 'name' }, 'protected-message.sealpost'),
      ' that came with the mail, or drag it onto this page.',
    ),
    h('p', { class: 'fault', role: 'alert' }, because),
    filePicker({ label: 'Choose the file', onFile, quiet: false }),
    h(
      'p',
      { class: 'small' },
      'The file stays on this device. If the mail has a button or a link, that opens the message too.',
    ),
  )
}
