/** Where time comes from. Tests give a wall clock of their own. */
export type TimeSource = {
  /** Milliseconds since 1970 UTC, as the machine believes. */
  readonly wall: () => number
  /** Milliseconds that really passed since some start; never set by anyone. */
  readonly elapsed: () => number
}

/** `behind`: an earlier run saw a later time, so expiry cannot be trusted. `jumped`: shredding waits for an officer. */
export type ClockState =
  | { readonly kind: 'good' }
  | { readonly kind: 'jumped'; readonly because: string }
  | { readonly kind: 'behind'; readonly because: string }

export interface Clock {
  /** Milliseconds since 1970 UTC. */
  now(): number
  /** Judges again at each call. Releases need `good` or `jumped`, the shredder `good`. */
  state(): ClockState
  /** An officer says that the clock is right: what it shows now is the new truth. */
  accept(): void
  /** The highest time seen, to be kept. */
  highest(): number
  /**
   * The time by which leases end, as `now`. For some seconds after a start it stands where the last run ended: a gateway that delivered
   * while the key server was away then gets to say so before anyone delivers again.
   */
  leases(): number
}

/** How far the wall clock may lie behind the highest time seen. */
const BEHIND_TOLERANCE = 5_000
const JUMP_TOLERANCE = 5 * 60_000
const LONGEST_GAP = 48 * 3_600_000
/** Longer than gateways wait between two tries to report an outcome. */
const REPORTING_TIME = 5_000

/**
 * A clock that notices when it was moved. `seen` is the highest time that an earlier run kept, null on a first start; `jumped` says
 * that an earlier run was waiting for an officer.
 */
export function createClock(source: TimeSource, seen: number | null, jumped: string | null): Clock {
  let wallAtMark = source.wall()
  let elapsedAtMark = source.elapsed()
  let highest = Math.max(seen ?? 0, wallAtMark)
  const startedAt = elapsedAtMark
  let jump = jumped ?? gapSince(seen, wallAtMark)

  const look = (): number => {
    const wall = source.wall()
    const drift = wall - wallAtMark - (source.elapsed() - elapsedAtMark)
    if (jump === null && Math.abs(drift) > JUMP_TOLERANCE) {
      jump = `the clock moved by ${Math.round(drift / 1000)} s against the time that really passed`
    }
    highest = Math.max(highest, wall)
    return wall
  }

  return {
    now: look,
    highest: () => highest,
    leases: () => {
      const wall = look()
      const starting = seen !== null && source.elapsed() - startedAt < REPORTING_TIME
      return starting ? Math.min(seen, wall) : wall
    },
    state: () => {
      const wall = look()
      if (wall < highest - BEHIND_TOLERANCE) {
        return {
          kind: 'behind',
          because: `the clock shows a time before ${new Date(highest).toISOString()}, seen earlier`,
        }
      }
      return jump === null ? { kind: 'good' } : { kind: 'jumped', because: jump }
    },
    accept: () => {
      wallAtMark = source.wall()
      elapsedAtMark = source.elapsed()
      highest = wallAtMark
      jump = null
    },
  }
}

function gapSince(seen: number | null, wall: number): string | null {
  if (seen === null || wall - seen <= LONGEST_GAP) return null
  return `${Math.round((wall - seen) / 3_600_000)} hours passed since the server last ran`
}
