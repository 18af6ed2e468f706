import { h } from './element.ts'

export type FilePicker = {
  readonly label: string
  readonly onFile: (file: File) => void
  /** As a small link rather than a button. */
  readonly quiet: boolean
}

/** A button that asks the browser for a file. */
export function filePicker({ label, onFile, quiet }: FilePicker): HTMLElement {
  const input = h('input', { type: 'file', class: 'unseen', tabindex: '-1', 'aria-hidden': 'true' })
  input.addEventListener('change', () => {
    const file = input.files?.item(0)
    if (file) onFile(file)
    input.value = ''
  })
  const button = h('button', { type: 'button', class: quiet ? 'quiet' : 'main', click: () => input.click() }, label)
  return h('div', { class: 'picker' }, button, input)
}

/** Takes a file that is dropped anywhere on the page. */
export function acceptDrops(target: Document, onFile: (file: File) => void): void {
  const carriesFile = (event: DragEvent) => event.dataTransfer?.types.includes('Files') === true
  target.addEventListener('dragover', (event) => {
    if (!carriesFile(event)) return
    event.preventDefault()
    target.body.classList.add('dropping')
  })
  target.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) target.body.classList.remove('dropping')
  })
  target.addEventListener('drop', (event) => {
    target.body.classList.remove('dropping')
    if (!carriesFile(event)) return
    // Without this the browser would leave the page and show the file.
    event.preventDefault()
    const file = event.dataTransfer?.files.item(0)
    if (file) onFile(file)
  })
}
