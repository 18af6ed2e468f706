import { h } from './element.ts'
import { filePicker } from './file-picker.ts'

export type AddressStep = {
  /** Shown in the field. */
  readonly address: string
  /** Why the person is here again, or null. */
  readonly because: string | null
  readonly onAddress: (address: string) => void
  readonly onFile: (file: File) => void
  /** The sealed copy is here already, from a file. */
  readonly haveFile: boolean
}

/** Asks for the address at which the message was received. */
export function addressStep({ address, because, onAddress, onFile, haveFile }: AddressStep): HTMLElement {
  const fault = h('p', { class: 'fault', id: 'address-fault', role: 'alert' }, because)
  const field = h('input', {
    id: 'address',
    type: 'email',
    name: 'email',
    autocomplete: 'email',
    spellcheck: 'false',
    autocapitalize: 'none',
    required: '',
    maxlength: '320',
    value: address,
    'aria-describedby': 'address-help address-fault',
    'data-focus': '',
  })
  const submit = (event: Event) => {
    event.preventDefault()
    const given = field.value.trim()
    fault.textContent = /^\S+@\S+$/.test(given) ? '' : 'Please enter a whole e-mail address, such as anna@example.org.'
    if (fault.textContent === '') onAddress(given)
    else field.focus()
  }
  return h(
    'div',
    { class: 'card' },
    h('h1', {}, 'A protected message for you'),
    h(
      'p',
      { id: 'address-help' },
      'To whom was it sent? Enter that e-mail address, and we will send it a code with which the message opens.',
    ),
    h(
      'form',
      { submit, novalidate: '' },
      h('label', { for: 'address' }, 'Your e-mail address'),
      field,
      fault,
      h('button', { class: 'main' }, 'Send me the code'),
    ),
    haveFile ? null : filePicker({ label: 'Or open the file from the mail', onFile, quiet: true }),
  )
}
