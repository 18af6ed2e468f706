import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { SMTPServer } from 'smtp-server'

/** A provider that keeps what it gets, for looking at; not for measuring. */
export type Catcher = {
  readonly mails: readonly Buffer[]
  /** Waits until there are so many; throws after 30 s. */
  wait(count: number): Promise<void>
  stop(): Promise<void>
}

/** Listens on a port of 127.0.0.1. */
export async function startCatcher(port: number): Promise<Catcher> {
  const mails: Buffer[] = []
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    logger: false,
    onData(stream, _session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        mails.push(Buffer.concat(chunks))
        done()
      })
    },
  })
  server.on('error', () => {
    // A client that goes away is the client's affair.
  })
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return {
    mails,
    async wait(count) {
      for (let waited = 0; mails.length < count; waited += 20) {
        if (waited > 30_000) throw new Error(`the provider got ${mails.length} of ${count} mails`)
        await sleep(20)
      }
    },
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}
