import { h } from './element.ts'
import { filePicker } from './file-picker.ts'
import type { Remedy, Words } from './refusal.ts'

export type Remedies = {
  readonly onRetry: () => void
  readonly onOtherAddress: () => void
  readonly onFile: (file: File) => void
  readonly onNewCode: () => void
}

/** Says why a message does not open, and offers what can be done. */
export function refusalStep({ title, text, remedies, note }: Words, on: Remedies): HTMLElement {
  return h(
    'div',
    { class: 'card refusal' },
    h('h1', {}, title),
    ...text.map((paragraph) => h('p', {}, paragraph)),
    h('div', { class: 'row' }, ...remedies.map((remedy, i) => remedyButton(remedy, on, i === 0))),
    note === null ? null : h('p', { class: 'small' }, note),
  )
}

function remedyButton(remedy: Remedy, on: Remedies, first: boolean): HTMLElement {
  const button = (label: string, click: () => void) =>
    h('button', { type: 'button', class: first ? 'main' : 'second', click }, label)
  switch (remedy) {
    case 'try-again':
      return button('Try again', on.onRetry)
    case 'other-address':
      return button('Use another address', on.onOtherAddress)
    case 'new-code':
      return button('Send me a new code', on.onNewCode)
    case 'choose-file':
      return filePicker({ label: 'Choose the file', onFile: on.onFile, quiet: !first })
  }
}
