import { createSignInPause } from './sign-in-pause.ts'
import { type NextHop, openSmtpClient, type PhaseTimeouts, type SmtpClient } from './smtp-client.ts'
import { WireFault } from './smtp-wire.ts'

/** A connection in use by one delivery. */
export type Leased = {
  readonly client: SmtpClient
  /** Mails that it has carried; 0 on a fresh one. */
  readonly carried: number
  /** A broken-off transaction stands on it. */
  readonly resetFirst: boolean
}

export type SmtpPool = {
  /** A kept connection, or a new one; waits for its turn. Rejects as `openSmtpClient` does, or after `waitMs` in the queue. */
  take(waitMs: number): Promise<Leased>
  /** A new connection in the place of a kept one that was found dead. */
  replace(dead: Leased): Promise<Leased>
  /** Gives it back. `finished`: it is not to be used again. */
  give(leased: Leased, next: 'clean' | 'reset-first' | 'finished'): void
  /** Resolves when nothing is in use and every connection has said QUIT. */
  close(): Promise<void>
}

export type SmtpPoolParts = {
  readonly hop: NextHop
  readonly timeouts: PhaseTimeouts
  /** At the same time. */
  readonly connections: number
  /** Then a connection is ended in order. */
  readonly mailsPerConnection: number
  /** A connection unused for so long is ended. */
  readonly idleMs: number
  /** Told of every greeting. */
  readonly onGreeted: (client: SmtpClient) => void
}

type Idle = { readonly leased: Leased; readonly timer: NodeJS.Timeout }
/** Called with a kept connection, or with null for leave to open one. */
type Turn = (leased: Leased | null) => void

export function createSmtpPool(parts: SmtpPoolParts): SmtpPool {
  const signIns = createSignInPause()
  const idle: Idle[] = []
  const queue: Turn[] = []
  let open = 0
  let closing: (() => void) | null = null

  const open1 = async (): Promise<Leased> => {
    try {
      const refused = signIns.fault()
      if (refused !== null) throw refused
      const client = await openSmtpClient(parts.hop, parts.timeouts)
      signIns.ended(null)
      parts.onGreeted(client)
      return { client, carried: 0, resetFirst: false }
    } catch (error) {
      signIns.ended(error)
      leave()
      throw error
    }
  }
  /** A place has become free: the next in the queue may open a connection. */
  const leave = () => {
    const turn = queue.shift()
    if (turn !== undefined) turn(null)
    else if (--open === 0) closing?.()
  }
  const takeIdle = (): Leased | null => {
    for (let kept = idle.pop(); kept !== undefined; kept = idle.pop()) {
      clearTimeout(kept.timer)
      if (kept.leased.client.wire.alive && kept.leased.client.wire.unasked() === null) return kept.leased
      kept.leased.client.wire.destroy('it was unfit to be used again')
      leave()
    }
    return null
  }
  const quit = (leased: Leased) => {
    leased.client.wire.end('QUIT\r\n')
    leave()
  }
  const keep = (leased: Leased) => {
    const turn = queue.shift()
    if (turn !== undefined) {
      turn(leased)
      return
    }
    const timer = setTimeout(() => {
      idle.splice(
        idle.findIndex((kept) => kept.leased === leased),
        1,
      )
      quit(leased)
    }, parts.idleMs)
    timer.unref()
    idle.push({ leased, timer })
  }

  return {
    async take(waitMs) {
      const kept = takeIdle()
      if (kept !== null) return kept
      if (open < parts.connections) {
        open++
        return open1()
      }
      const turn = await waitForTurn(queue, waitMs)
      return turn ?? open1()
    },
    replace(dead) {
      dead.client.wire.destroy('it was found dead')
      return open1()
    },
    give(leased, next) {
      const carried = leased.carried + 1
      const spent = next === 'finished' || !leased.client.wire.alive
      if (spent) {
        leased.client.wire.destroy('it is not to be used again')
        leave()
      } else if (closing !== null || carried >= parts.mailsPerConnection) quit(leased)
      else keep({ client: leased.client, carried, resetFirst: next === 'reset-first' })
    },
    close() {
      return new Promise((resolve) => {
        closing = resolve
        for (const kept of idle.splice(0)) {
          clearTimeout(kept.timer)
          quit(kept.leased)
        }
        if (open === 0) resolve()
      })
    },
  }
}

function waitForTurn(queue: Turn[], waitMs: number): Promise<Leased | null> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      queue.splice(queue.indexOf(turn), 1)
      reject(new WireFault('every connection to the next hop was busy for too long'))
    }, waitMs)
    const turn: Turn = (leased) => {
      clearTimeout(timer)
      resolve(leased)
    }
    queue.push(turn)
  })
}
