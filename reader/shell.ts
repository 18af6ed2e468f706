/** The page around a step: one `main`, one line for what a screen reader should say. */
export type Shell = {
  /** Shows a view in place of the last one, says its title, and moves the focus to its `[autofocus]` element or its heading. */
  show(view: HTMLElement): void
  /** Says something without moving the focus. */
  say(words: string): void
}

export function createShell(main: HTMLElement, status: HTMLElement): Shell {
  return {
    show(view) {
      main.replaceChildren(view)
      const heading = view.querySelector('h1')
      if (heading !== null) {
        heading.tabIndex = -1
        document.title = heading.textContent || 'Protected message'
      }
      status.textContent = ''
      const target = view.querySelector<HTMLElement>('[data-focus]') ?? heading
      target?.focus({ preventScroll: target === heading })
      if (target === heading) scrollTo(0, 0)
    },
    say(words) {
      status.textContent = words
    },
  }
}
