import { type ApiReply, pause, replyOf } from './api-call.ts'

/** Octets of one request: a multiple of 320 KiB below the 4 MB that Microsoft's documents name. */
const RANGE = 12 * 327_680
const TRIES = 3

export type UploadEnd =
  | { readonly kind: 'done' }
  /** The session's answer, or null if there was none. */
  | { readonly kind: 'stopped'; readonly reply: ApiReply | null }

/**
 * Puts a file into an upload session, range after range, in order. The address is signed in itself: it gets no token. A range that was not
 * taken is put again, at most twice; the session knows it by its place.
 */
export async function uploadRanges(
  url: string,
  file: { readonly size: number; open(): AsyncIterable<Uint8Array> },
  signal: AbortSignal,
  requestMs: number,
): Promise<UploadEnd> {
  let start = 0
  for await (const range of inRanges(file.open())) {
    const end = start + range.length
    const reply = await put(url, range, `bytes ${start}-${end - 1}/${file.size}`, signal, requestMs)
    if (reply === null || reply.status < 200 || reply.status > 299) return { kind: 'stopped', reply }
    start = end
    if (reply.status === 201 && start < file.size) return { kind: 'stopped', reply }
  }
  return start === file.size ? { kind: 'done' } : { kind: 'stopped', reply: null }
}

async function put(
  url: string,
  body: Buffer<ArrayBuffer>,
  contentRange: string,
  signal: AbortSignal,
  requestMs: number,
): Promise<ApiReply | null> {
  let last: ApiReply | null = null
  for (let tries = 1; tries <= TRIES; tries++) {
    try {
      const headers = { 'Content-Type': 'application/octet-stream', 'Content-Range': contentRange }
      const limit = AbortSignal.any([signal, AbortSignal.timeout(requestMs)])
      last = await replyOf(await fetch(url, { method: 'PUT', headers, body, redirect: 'error', signal: limit }))
      if (last.status !== 429 && last.status < 500) return last
    } catch {
      // Whether it was taken, the next try is told.
      last = null
    }
    const asked = Number(last?.headers.get('retry-after') ?? tries)
    if (tries < TRIES && !(await pause(1000 * (Number.isFinite(asked) ? asked : tries), signal))) return last
  }
  return last
}

async function* inRanges(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer<ArrayBuffer>> {
  let buffer = Buffer.allocUnsafe(RANGE)
  let held = 0
  for await (const chunk of source) {
    for (let from = 0; from < chunk.length; ) {
      const part = chunk.subarray(from, from + RANGE - held)
      buffer.set(part, held)
      held += part.length
      from += part.length
      if (held === RANGE) {
        yield buffer
        buffer = Buffer.allocUnsafe(RANGE)
        held = 0
      }
    }
  }
  if (held > 0) yield buffer.subarray(0, held)
}
