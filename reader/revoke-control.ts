import { h } from './element.ts'

/** The sender's button that takes a message back, with a question before it does. */
export function revokeControl(onRevoke: () => void): HTMLElement {
  const open = h('button', { type: 'button', class: 'danger' }, 'Revoke this message')
  const keep = h('button', { type: 'button', class: 'second' }, 'Keep it')
  const confirm = h('button', { type: 'button', class: 'danger', click: onRevoke }, 'Yes, revoke it')
  const words =
    'Nobody will be able to open this message any more, you included. What somebody has already read or saved stays with them. This cannot be undone.'
  const question = h(
    'div',
    { class: 'question', role: 'group', 'aria-label': 'Revoke this message?', hidden: '' },
    h('p', {}, words),
    h('div', { class: 'row' }, keep, confirm),
  )
  const ask = (asking: boolean) => {
    question.hidden = !asking
    open.hidden = asking
    const target = asking ? keep : open
    target.focus()
  }
  open.addEventListener('click', () => ask(true))
  keep.addEventListener('click', () => ask(false))
  return h('div', { class: 'revoke' }, open, question)
}
