import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDialogue, type RawMail } from './dialogue.ts'

/** A mail with words that nobody but its recipients may ever see. */
export type Letter = RawMail & { readonly id: string; readonly canary: string }

/** How one attempt to hand in a mail ended: with a reply's code (0: no reply came) and what was said. */
export type Attempt = { readonly port: number; readonly code: number; readonly said: string }

/** A mail program's queue: it tries again, through whichever gateway, until it is told 250 or no for good. */
export type Retrying = {
  /** The ports of the gateways, in the order of the attempts, over and over. */
  readonly ports: readonly number[]
  /** Pause between attempts, milliseconds. */
  readonly every: number
  /** Gives up after so many milliseconds: the last attempt is the answer. */
  readonly within: number
  /** How long an attempt waits for its replies, milliseconds. */
  readonly patience: number
}

/** What stands in every letter. */
export const PHRASE = 'the heron stands in the reeds'

/** A letter of about `size` octets; `tag` goes into the subject. */
export function letter(to: readonly string[], { size = 0, tag = '' }: { size?: number; tag?: string } = {}): Letter {
  const id = `<${randomUUID()}@acme.example>`
  const canary = `${PHRASE} ${randomUUID()}`
  const head = [
    'From: Anna <anna@acme.example>',
    `To: ${to.join(', ')}`,
    `Subject: A letter ${tag}`.trim(),
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: ${id}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    '',
  ].join('\r\n')
  const line = `${canary}: tell nobody\r\n`
  const octets = Buffer.from(head + line.repeat(Math.max(1, Math.ceil(size / line.length))))
  return { from: 'anna@acme.example', to, octets, id, canary }
}

/** Hands a mail in once. Never throws: no answer is an answer too. */
export async function attempt(port: number, mail: RawMail, patience = 30_000): Promise<Attempt> {
  const stop = new AbortController()
  const late = sleep(patience, null, { signal: stop.signal }).catch(() => null)
  let close: () => void = () => undefined
  const asked = async (): Promise<string> => {
    const dialogue = await openDialogue(port)
    close = () => dialogue.socket.destroy()
    return dialogue.send(mail)
  }
  try {
    const said = await Promise.race([asked(), late])
    return said === null ? { port, code: 0, said: 'no answer in time' } : { port, code: Number(said.slice(0, 3)), said }
  } catch (cause) {
    return { port, code: 0, said: cause instanceof Error ? cause.message : String(cause) }
  } finally {
    stop.abort()
    close()
  }
}

/** All attempts, the last one last: 250, a refusal for good, or whatever it was when the time was up. */
export async function retry(mail: RawMail, options: Partial<Retrying> & Pick<Retrying, 'ports'>): Promise<Attempt[]> {
  const { ports, every = 200, within = 60_000, patience = 30_000 } = options
  const until = Date.now() + within
  const attempts: Attempt[] = []
  for (;;) {
    const port = ports[attempts.length % ports.length] ?? 0
    const last = await attempt(port, mail, patience)
    attempts.push(last)
    if (last.code === 250 || last.code >= 500 || Date.now() > until) return attempts
    await sleep(every)
  }
}
