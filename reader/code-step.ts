import { h } from './element.ts'
import { timeInWords } from './time.ts'

export type CodeStep = {
  readonly address: string
  readonly expiresAt: string
  /** What was wrong with the last answer, or null. */
  readonly fault: string | null
  readonly onCode: (code: string) => void
  readonly onResend: () => void
  readonly onOtherAddress: () => void
}

/** Asks for the code that was mailed. */
export function codeStep({ address, expiresAt, fault, onCode, onResend, onOtherAddress }: CodeStep): HTMLElement {
  const said = h('p', { class: 'fault', id: 'code-fault', role: 'alert' }, fault)
  const field = h('input', {
    id: 'code',
    name: 'code',
    inputmode: 'numeric',
    autocomplete: 'one-time-code',
    pattern: '[0-9 ]*',
    maxlength: '12',
    required: '',
    'aria-describedby': 'code-help code-fault',
    'data-focus': '',
  })
  const submit = (event: Event) => {
    event.preventDefault()
    // People type the blank or the hyphen that makes a long number readable.
    const digits = field.value.replace(/[\s-]/g, '')
    said.textContent = /^[0-9]{8}$/.test(digits) ? '' : 'The code has 8 digits.'
    if (said.textContent === '') onCode(digits)
    else field.focus()
  }
  return h(
    'div',
    { class: 'card' },
    h('h1', {}, 'Enter the code'),
    h(
      'p',
      { id: 'code-help' },
      'If ',
      h('span', { class: 'name' }, address),
      ' can open this message, a mail with 8 digits is on its way there now. Please leave this page open and type them here.',
    ),
    h(
      'form',
      { submit, novalidate: '' },
      h('label', { for: 'code' }, 'Code from the mail'),
      field,
      said,
      h('button', { class: 'main' }, 'Open the message'),
    ),
    h(
      'p',
      { class: 'small' },
      `The code is good until ${timeInWords(expiresAt).split(', ').at(-1)}, and only in this window.`,
    ),
    noCode(address, onResend, onOtherAddress),
  )
}

function noCode(address: string, onResend: () => void, onOtherAddress: () => void): HTMLElement {
  return h(
    'details',
    {},
    h('summary', {}, 'No code has come?'),
    h(
      'p',
      {},
      'It takes a minute or two at times. Please look into the junk folder of ',
      h('span', { class: 'name' }, address),
      ' as well.',
    ),
    h(
      'p',
      {},
      'Codes are only ever sent to the addresses that the sender wrote to, exactly as they were written, so that nobody else can open the message. Was the mail forwarded to you, or did it come to another of your addresses? Then use the address that it was first sent to.',
    ),
    h(
      'p',
      { class: 'row' },
      h('button', { type: 'button', class: 'second', click: onResend }, 'Send a new code'),
      h('button', { type: 'button', class: 'second', click: onOtherAddress }, 'Use another address'),
    ),
  )
}
