const BEGIN = Buffer.from('\r\nbegin ')
/** The line that begins a file, and the first character of its data: its length, from 1 to 45. */
const FILE = /^\r\nbegin [0-7]{3,4} [^\r\n]{1,256}\r\n[!-M]/
const LONGEST = 300

/** Looks in the octets of a message, as they come, for a file within a text (`begin 644 name`), which Outlook and Exchange make an attachment of. */
export function createUuencodedSearch() {
  let rest: Buffer = Buffer.alloc(0)
  let found = false

  function look(data: Buffer): void {
    for (let at = data.indexOf(BEGIN); at !== -1 && !found; at = data.indexOf(BEGIN, at + 1)) {
      found = FILE.test(data.toString('latin1', at, at + LONGEST))
    }
  }

  return {
    found: () => found,
    feed(octets: Uint8Array): void {
      if (found) return
      const data = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
      if (rest.length > 0) look(Buffer.concat([rest, data.subarray(0, LONGEST)]))
      look(data)
      rest = Buffer.concat([rest, data.subarray(-LONGEST)]).subarray(-LONGEST)
    },
  }
}
