import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { end } from './child.ts'

/** Postfix's smtp-sink in the provider's place: takes mail, throws it away, counts. In C, so that it costs little of what is measured. */
export type Sink = {
  /** Messages taken since the start. */
  count(): number
  /** Resolves with the time (Unix ms) at which `count` messages were there; rejects where none came for 60 s. */
  reached(count: number): Promise<number>
  stop(): Promise<void>
}

const PROGRAM = '/usr/sbin/smtp-sink'
const STALLED = 60_000

/** Starts it on a port of 127.0.0.1. Throws where it does not come up. */
export async function startSink(port: number): Promise<Sink> {
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child = spawn(PROGRAM, [...user, '-c', '-m', '512', `127.0.0.1:${port}`, '1024'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const state = { count: 0, at: Date.now(), tail: '' }
  const waiting = new Set<() => void>()
  child.stdout.setEncoding('latin1')
  child.stdout.on('data', (chunk: string) => {
    const text = state.tail + chunk
    state.count = lastCount(text) ?? state.count
    state.at = performance.timeOrigin + performance.now()
    state.tail = text.slice(-80)
    for (const look of waiting) look()
  })
  await Promise.race([sleep(300), new Promise((resolve) => child.once('exit', resolve))])
  if (child.exitCode !== null) throw new Error(`${PROGRAM} did not start on port ${port}`)

  async function reached(count: number): Promise<number> {
    for (let [last, since] = [-1, Date.now()]; state.count < count; ) {
      if (state.count !== last) [last, since] = [state.count, Date.now()]
      if (Date.now() - since > STALLED)
        throw new Error(`the sink got ${state.count} of ${count} messages, then none for 60 s`)
      await arrival()
    }
    return state.at
  }
  function arrival(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        waiting.delete(done)
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(done, 1_000)
      waiting.add(done)
    })
  }
  return { count: () => state.count, reached, stop: () => end(child) }
}

/** The newest number of messages in what `smtp-sink -c` printed (`sess=1 quit=0 mesg=2`, CR), or null if there is none that is whole. */
export function lastCount(text: string): number | null {
  const found = [...text.matchAll(/mesg=(\d+)\r/g)].at(-1)?.[1]
  return found === undefined ? null : Number(found)
}
