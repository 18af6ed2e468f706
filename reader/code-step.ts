import { h } from './element.ts'

export type CodeStep = {
  readonly address: string
  /** What was wrong with the last answer, or null. */
  readonly fault: string | null
  readonly onCode: (code: string) => void
  readonly onResend: () => void
  readonly onOtherAddress: () => void
}

/** Asks for the code that was mailed. */
export function codeStep({ address, fault, onCode, onResend, onOtherAddress }: CodeStep): HTMLElement {
  const said = h('p', { class: 'fault', id: 'code-fault', role: 'alert' }, fault)
  const field = h('input', {
    id: 'code',
    name: 'code',
    inputmode: 'numeric',
    autocomplete: 'one-time-code',
    pattern: '[0-9 ]*',
    maxlength: '1000',
    required: '',
    'aria-describedby': 'code-help code-fault',
    'data-focus': '',
  })
  const submit = (event: Event) => {
    event.preventDefault()
    // People type what makes a long number readable, paste words along with it, or have a keyboard with wide digits.
    const digits = field.value.normalize('NFKC').replace(/[^0-9]/g, '')
    said.textContent = digits.length === 8 ? '' : 'The code has 8 digits.'
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
    h('p', { class: 'small' }, 'The code is good for ten minutes, and only in this browser.'),
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
