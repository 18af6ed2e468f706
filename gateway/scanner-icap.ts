import { createHash, type Hash } from 'node:crypto'
import { type IcapAnswer, readAnswer, readChunks } from './icap-answer.ts'
import type { Content } from './intake.ts'
import { foundName, type Scan } from './scan.ts'
import { ScannerFault, type ScannerWire } from './scanner-wire.ts'

/** What a service says of itself in answer to OPTIONS (RFC 3507 4.10). */
export type IcapOptions = {
  readonly method: 'RESPMOD' | 'REQMOD'
  /** Octets that it wants to see before the rest; null: all at once. */
  readonly preview: number | null
  readonly lifeMs: number
  /** What it calls itself, for people. */
  readonly service: string
}

export type IcapService = { readonly host: string; readonly port: number; readonly service: string }

/** A larger preview saves nothing. */
const PREVIEW_LIMIT = 64 * 1024
const LIFE_SECONDS = 3600

export async function askIcap(wire: ScannerWire, at: IcapService): Promise<IcapOptions> {
  await wire.write(Buffer.from(`OPTIONS ${uriOf(at)} ICAP/1.0\r\nHost: ${at.host}\r\nConnection: close\r\n\r\n`))
  const answer = await readAnswer(wire)
  if (answer.status !== 200) throw new ScannerFault(`the service '${at.service}' answers ${answer.status} to OPTIONS`)
  const methods = (answer.fields.get('methods') ?? '').toUpperCase()
  const method = methods.includes('RESPMOD') ? 'RESPMOD' : methods.includes('REQMOD') ? 'REQMOD' : null
  if (method === null) throw new ScannerFault(`the service '${at.service}' does neither RESPMOD nor REQMOD`)
  const preview = numberIn(answer, 'preview')
  return {
    method,
    preview: preview === null ? null : Math.min(preview, PREVIEW_LIMIT),
    lifeMs: 1000 * Math.min(numberIn(answer, 'options-ttl') ?? LIFE_SECONDS, LIFE_SECONDS),
    service: foundName(answer.fields.get('service') ?? answer.fields.get('istag') ?? 'a service without a name'),
  }
}

/**
 * RFC 3507 4.8 and 4.9: the message as the body of an HTTP exchange that never was. 204 is clean, and so is a body that comes back as it was sent;
 * whatever else the service would put in its place means that it may not go on.
 */
export async function scanByIcap(
  wire: ScannerWire,
  at: IcapService,
  options: IcapOptions,
  content: Pick<Content, 'size' | 'accepted'>,
): Promise<Scan> {
  const preview = options.preview
  await wire.write(headOf(at, options, content.size))
  const shown = { size: content.size, hash: createHash('sha256') }
  const pieces = hashed(content.accepted(), shown.hash)
  let rest: Uint8Array | null = null
  if (preview !== null) {
    const begun = await writePreview(wire, pieces, preview)
    rest = begun.rest
    if (begun.ended) return verdictOf(wire, await readAnswer(wire), shown)
    const answer = await readAnswer(wire)
    if (answer.status !== 100) return verdictOf(wire, answer, shown)
  }
  // A service may begin to answer while it is still shown the message, and go on in step with it.
  const judged = readAnswer(wire).then((answer) => verdictOf(wire, answer, shown))
  const sent = writeRest(wire, rest, pieces).then(
    () => judged,
    (error: unknown) => (error instanceof ScannerFault ? judged : Promise.reject(error)),
  )
  return Promise.race([judged, sent])
}

async function writeRest(
  wire: ScannerWire,
  first: Uint8Array | null,
  pieces: AsyncIterator<Uint8Array>,
): Promise<void> {
  if (first !== null) await writeChunk(wire, first)
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next())
    await writeChunk(wire, next.value)
  await wire.write(Buffer.from('0\r\n\r\n'))
}

/** What the service was shown so far, and how much there is. */
type Shown = { readonly size: number; readonly hash: Hash }

async function* hashed(pieces: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    hash.update(piece)
    yield piece
  }
}

function headOf(at: IcapService, { method, preview }: IcapOptions, size: number): Buffer {
  const type = `Content-Type: message/rfc822\r\nContent-Length: ${size}\r\n`
  const request =
    method === 'REQMOD'
      ? `POST http://mail.invalid/message.eml HTTP/1.1\r\nHost: mail.invalid\r\n${type}\r\n`
      : 'GET http://mail.invalid/message.eml HTTP/1.1\r\nHost: mail.invalid\r\n\r\n'
  const response = method === 'REQMOD' ? '' : `HTTP/1.1 200 OK\r\n${type}\r\n`
  const encapsulated =
    method === 'REQMOD'
      ? `req-hdr=0, req-body=${request.length}`
      : `req-hdr=0, res-hdr=${request.length}, res-body=${request.length + response.length}`
  const head = [
    `${method} ${uriOf(at)} ICAP/1.0`,
    `Host: ${at.host}`,
    'Allow: 204',
    ...(preview === null ? [] : [`Preview: ${preview}`]),
    'Connection: close',
    `Encapsulated: ${encapsulated}`,
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${request}${response}`)
}

/** RFC 3507 4.5. `rest`: what was read of the message beyond the preview. */
async function writePreview(wire: ScannerWire, pieces: AsyncIterator<Uint8Array>, size: number) {
  let left = size
  for (;;) {
    const next = await pieces.next()
    if (next.done === true) {
      await wire.write(Buffer.from('0; ieof\r\n\r\n'))
      return { ended: true, rest: null }
    }
    const own = next.value.subarray(0, left)
    const beyond = next.value.subarray(left)
    await writeChunk(wire, own)
    left -= own.length
    if (beyond.length === 0) continue
    await wire.write(Buffer.from('0\r\n\r\n'))
    return { ended: false, rest: beyond }
  }
}

async function writeChunk(wire: ScannerWire, octets: Uint8Array): Promise<void> {
  if (octets.length === 0) return
  await wire.write(Buffer.concat([Buffer.from(`${octets.length.toString(16)}\r\n`), octets, Buffer.from('\r\n')]))
}

async function verdictOf(wire: ScannerWire, answer: IcapAnswer, shown: Shown): Promise<Scan> {
  const { status, fields } = answer
  const name = threatIn(fields)
  if (name !== null) return { verdict: 'infected', name }
  if (status === 204) return { verdict: 'clean', name: '' }
  if (status === 413) return { verdict: 'too-large', name: '' }
  if (status !== 200 && status !== 201) throw new ScannerFault(`the service answers ${status}`)
  const same = await isSame(wire, answer, shown)
  return same ? { verdict: 'clean', name: '' } : { verdict: 'infected', name: 'blocked by the scanner' }
}

/** The fields by which services name what they found; null where they found nothing. */
function threatIn(fields: ReadonlyMap<string, string>): string | null {
  const found = fields.get('x-infection-found')
  const said = /Threat=([^;]+)/i.exec(found ?? '')?.[1] ?? fields.get('x-virus-id') ?? fields.get('x-virus-name')
  const violations = fields.get('x-violations-found')
  if (found === undefined && said === undefined && violations === undefined) return null
  if (said !== undefined && /^(?:no|none|clean|no threats?)?$/i.test(said.trim())) return null
  return foundName(said ?? 'a violation of its rules')
}

/** Whether the message came back as it was sent, by a service that does not answer 204. */
async function isSame(wire: ScannerWire, { body }: IcapAnswer, shown: Shown): Promise<boolean> {
  if (body === null || (body.status !== null && body.status !== 200)) return false
  const hash = createHash('sha256')
  let octets = 0
  for await (const piece of readChunks(wire)) {
    octets += piece.length
    if (octets > shown.size) return false
    hash.update(piece)
  }
  return octets === shown.size && hash.digest().equals(shown.hash.copy().digest())
}

function numberIn(answer: IcapAnswer, field: string): number | null {
  const text = answer.fields.get(field) ?? ''
  return /^\d{1,9}$/.test(text) ? Number(text) : null
}

function uriOf({ host, port, service }: IcapService): string {
  return `icap://${host.includes(':') ? `[${host}]` : host}:${port}/${service}`
}
