import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A caught mail: what the provider got. */
export type Caught = {
  readonly id: string
  readonly subject: string
  readonly recipients: readonly string[]
  /** The octets as the provider stored them. */
  source(): Promise<Uint8Array>
}

/** A mail catcher with a web inbox that plays the provider: maildev 2, because version 3 opens no link of a mail. */
export type Inbox = {
  readonly url: string
  mails(): Promise<readonly Caught[]>
  /** Waits until a mail that `fits` is there; throws after 10 s, naming `what`. */
  wait(what: string, fits: (mail: Caught) => boolean): Promise<Caught>
  stop(): Promise<void>
}

type Listed = {
  readonly id: string
  readonly subject?: string
  /** Of a mail from an earlier start, `to` is an empty string. */
  readonly envelope?: { readonly to?: readonly { readonly address: string }[] | string }
}

/** Starts the catcher on two ports of 127.0.0.1; it keeps its mail in `folder`. Throws where it does not come up. */
export async function startInbox(folder: string, smtp: number, web: number): Promise<Inbox> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const program = fileURLToPath(new URL('bin/maildev', import.meta.resolve('maildev')))
  const options = ['--ip', '127.0.0.1', '--web-ip', '127.0.0.1', '--smtp', `${smtp}`, '--web', `${web}`]
  const child = spawn(process.execPath, [program, ...options, '--mail-directory', join(folder, 'mail')], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(join(folder, 'inbox.log'), { flags: 'a' })
  child.stdout.pipe(log, { end: false })
  child.stderr.pipe(log, { end: false })
  const url = `http://localhost:${web}`
  const latest = performance.now() + 30_000
  while (!(await alive(url))) {
    if (child.exitCode !== null) throw new Error(`the inbox did not start; see ${folder}/inbox.log`)
    if (performance.now() > latest) {
      child.kill()
      throw new Error(
        `the inbox did not answer at ${url} within 30 s; see ${folder}/inbox.log, and whether this machine knows localhost`,
      )
    }
    await sleep(50)
  }

  async function mails(): Promise<Caught[]> {
    const listed = (await (await fetch(`${url}/email`)).json()) as Listed[]
    return listed.map(({ id, subject, envelope }) => ({
      id,
      subject: subject ?? '',
      recipients: typeof envelope?.to === 'object' ? envelope.to.map((to) => to.address) : [],
      source: async () => new Uint8Array(await (await fetch(`${url}/email/${id}/source`)).arrayBuffer()),
    }))
  }

  return {
    url,
    mails,
    wait: async (what, fits) => {
      const latest = performance.now() + 10_000
      while (performance.now() < latest) {
        const found = (await mails()).find(fits)
        if (found) return found
        await sleep(50)
      }
      throw new Error(`${what} did not arrive in the inbox within 10 s`)
    },
    stop: async () => {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

async function alive(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1000) })).ok
  } catch {
    return false // not listening yet
  }
}
