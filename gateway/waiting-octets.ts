import type { Lent } from '../envelope/lent.ts'
import type { Room } from './room.ts'
import { createScratch, type Scratch } from './scratch.ts'

/** The octets of a large message while it waits for its verdict: in memory as far as there is room, the rest in a scratch file. */
export type WaitingOctets = {
  /** Keeps a copy: the octets may be used again once it resolves. Rejects if the scratch file cannot be written. */
  write(octets: Uint8Array): Promise<void>
  /** No more will be written. */
  finish(): Promise<void>
  /** The octets from that offset on, as often as asked, after `finish`. Throws if the scratch file was altered, or all was given up. */
  read(from: number): Lent
  /** Frees memory and scratch file; may be called again. */
  close(): Promise<void>
}

/** Octets of one message that wait in memory: a few very large ones do not take the room from all others. */
const SHARE = 8 * 1024 * 1024

/** `folder` gets the scratch file, if one is needed. */
export function createWaitingOctets(folder: string, room: Room): WaitingOctets {
  const held = room.hold(SHARE)
  let scratch: Scratch | null = null
  let size = 0

  async function* read(from: number): AsyncGenerator<Uint8Array> {
    yield* held.read(from)
    if (scratch !== null) yield* scratch.read(Math.max(0, from - held.size), size - held.size)
  }

  return {
    async write(octets) {
      size += octets.length
      if (scratch === null && held.add(octets)) return
      scratch ??= await createScratch(folder)
      await scratch.write(octets)
    },
    finish: async () => scratch?.finish(),
    read,
    async close() {
      held.release()
      await scratch?.close()
    },
  }
}
