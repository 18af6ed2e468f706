/**
 * Octets that come in pieces, each of them lent: it is good until the next one is asked for, and whoever needs it longer copies it. So its
 * memory is used again, or given back, by whoever made it.
 */
export type Lent = AsyncIterable<Uint8Array>

/** Below that, octets, the collector is as quick. */
const LARGE = 4096

/**
 * Gives memory back at once. Buffers outside of the heap are what V8's collector finds last and looks for longest; of large mail that was
 * a third of all processor time, and most of the memory. `octets` and everything that shares its memory have no length afterwards; where it is
 * only a part of its memory nothing happens. Nobody may be reading it: neither a pending write, nor another thread.
 */
export function giveBack(octets: Uint8Array): void {
  const { buffer, length } = octets
  if (length < LARGE || length !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return
  buffer.transfer(0)
}
