import { h } from './element.ts'
import { sizeInWords } from './file.ts'

export type WaitingStep = {
  readonly view: HTMLElement
  /** Names what is being done now. */
  readonly stage: (words: string) => void
  /** `all` is null where the end is not known. */
  readonly progress: (have: number, all: number | null) => void
}

/** Shows that something is going on, and how far it is. */
export function waitingStep(words: string): WaitingStep {
  const bar = h('progress', { max: '1', 'aria-labelledby': 'waiting' })
  const heading = h('h1', { id: 'waiting' }, words)
  const amount = h('p', { class: 'small' })
  return {
    view: h('div', { class: 'card waiting' }, heading, bar, amount),
    stage(now) {
      heading.textContent = now
      bar.removeAttribute('value')
      amount.textContent = ''
    },
    progress(have, all) {
      if (all !== null && all > 0) bar.value = Math.min(1, have / all)
      // Small messages are there before anybody could read a number.
      if (have > 500_000)
        amount.textContent = all === null ? sizeInWords(have) : `${sizeInWords(have)} of ${sizeInWords(all)}`
    },
  }
}
