const MEMBER = Buffer.from('PK\x03\x04', 'latin1')
/** Octets of a member's header up to and with its flags (APPNOTE 4.3.7). */
const MEMBER_HEAD = 8
const ENCRYPTED = 0x01

/** Looks in the octets of a ZIP archive, as they come, for a member that needs a password. */
export function createLockSearch() {
  let rest: Buffer = Buffer.alloc(0)
  let found = false
  return {
    found: () => found,
    feed(octets: Uint8Array): void {
      if (found) return
      const data = Buffer.concat([rest, octets])
      for (let at = data.indexOf(MEMBER); at !== -1 && at + MEMBER_HEAD <= data.length; ) {
        found ||= ((data[at + 6] ?? 0) & ENCRYPTED) !== 0
        at = data.indexOf(MEMBER, at + 1)
      }
      rest = data.subarray(Math.max(0, data.length - MEMBER_HEAD + 1))
    },
  }
}
