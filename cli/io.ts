/** What a command may touch of the terminal it runs in. Each call writes one line; the end of line is added. */
export type Io = {
  readonly out: (line: string) => void
  readonly err: (line: string) => void
}

/** A command: its arguments without its own name, and the exit status it asks for (see {@link exits}). */
export type Command = (argv: readonly string[], io: Io) => Promise<number>

/** `failed`: asked properly, and the answer is no. `usage`: asked wrongly. `config`: a file that was named has faults (sysexits). */
export const exits = { ok: 0, failed: 1, usage: 2, config: 78 } as const

/** The command line itself is wrong. main.ts prints the message and where the help is, and exits with {@link exits.usage}. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A failure with its whole explanation in the message, one fault a line. main.ts prints it without a stack. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly exit: number

  constructor(message: string, exit: number = exits.failed) {
    super(message)
    this.exit = exit
  }
}
