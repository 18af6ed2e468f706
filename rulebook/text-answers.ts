import type { MessageText } from './message-text.ts'

/** How a condition asks something of a text: a key of {@link TextAnswers}. */
export function questionOf(asks: 'matches' | 'contains', argument: string): string {
  return `${asks} ${argument}`
}

/**
 * A mail's text as conditions hold it. Values of CEL are plain, and a text of this length would be searched anew for every recipient: so it is
 * a map without entries, that answers what it is asked.
 */
export class TextAnswers extends Map<string, boolean> {
  readonly text: MessageText

  constructor(text: MessageText) {
    super()
    this.text = text
  }

  override get(question: string): boolean {
    const space = question.indexOf(' ')
    const argument = question.slice(space + 1)
    return question.slice(0, space) === 'matches' ? this.text.matches(argument) : this.text.contains(argument)
  }
}
