import { ScannerFault, type ScannerWire } from './scanner-wire.ts'

/** The head of an answer of an ICAP service (RFC 3507 4.3). */
export type IcapAnswer = {
  readonly status: number
  /** By lower-case name; of a field that stands twice, the first. */
  readonly fields: ReadonlyMap<string, string>
  /** Whether a body follows, to be read with {@link readChunks}; `status` is that of the HTTP response it belongs to, null in a request. */
  readonly body: { readonly status: number | null } | null
}

/** Octets of a header. */
const HEAD_LIMIT = 64 * 1024
/** Octets of the line before a chunk. */
const LINE_LIMIT = 4096
const PIECE = 64 * 1024

export async function readAnswer(wire: ScannerWire): Promise<IcapAnswer> {
  const head = (await wire.readTo('\r\n\r\n', HEAD_LIMIT)).toString('latin1')
  const [first = '', ...lines] = head.split('\r\n')
  const status = /^ICAP\/1\.\d (\d{3})(?: |$)/.exec(first)?.[1]
  if (status === undefined) throw new ScannerFault('this is no ICAP service: its answer does not begin like one')
  const fields = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).trim().toLowerCase()
    if (colon > 0 && !fields.has(name)) fields.set(name, line.slice(colon + 1).trim())
  }
  const encapsulated = fields.get('encapsulated') ?? ''
  return { status: Number(status), fields, body: await readEncapsulated(wire, encapsulated) }
}

/** Reads the HTTP headers in front of a body (RFC 3507 4.4.1). */
async function readEncapsulated(wire: ScannerWire, encapsulated: string): Promise<IcapAnswer['body']> {
  const sections = encapsulated.split(',').map((one) => one.trim().split('=')[0]?.toLowerCase() ?? '')
  let status: number | null = null
  for (const section of sections) {
    if (section === 'req-hdr') await wire.readTo('\r\n\r\n', HEAD_LIMIT)
    if (section === 'res-hdr') {
      const head = (await wire.readTo('\r\n\r\n', HEAD_LIMIT)).toString('latin1')
      status = Number(/^HTTP\/1\.\d (\d{3})/.exec(head)?.[1] ?? 0)
    }
  }
  return sections.some((section) => section === 'req-body' || section === 'res-body') ? { status } : null
}

/** The body behind an answer. */
export async function* readChunks(wire: ScannerWire): AsyncIterable<Uint8Array> {
  for (;;) {
    const line = (await wire.readTo('\r\n', LINE_LIMIT)).toString('latin1')
    const size = /^([0-9A-Fa-f]{1,8})\s*(?:;|$)/.exec(line)?.[1]
    if (size === undefined) throw new ScannerFault('the ICAP service breaks off in its answer')
    let left = Number.parseInt(size, 16)
    if (left === 0) return
    while (left > 0) {
      const piece = await wire.readSome(Math.min(left, PIECE))
      left -= piece.length
      yield piece
    }
    await wire.readTo('\r\n', 0)
  }
}
