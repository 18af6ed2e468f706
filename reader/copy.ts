/** What came of fetching a sealed copy. */
export type Fetched =
  | { readonly kind: 'copy'; readonly octets: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreachable' }

/** Sealed octets had so far, and all there are if that is known. */
export type Progress = (have: number, all: number | null) => void

/** The largest sealed copy that the page takes into memory, octets. */
export const LARGEST_COPY = 256 * 1024 * 1024

export type CopyParts = {
  readonly fetch: typeof globalThis.fetch
  readonly onProgress: Progress
  /** Milliseconds without an octet after which a copy counts as out of reach. */
  readonly patience?: number
}

/** Fetches the sealed copy from the first of `urls` that has it. */
export async function fetchCopy(urls: readonly string[], ticket: string, parts: CopyParts): Promise<Fetched> {
  let worst: Fetched = { kind: 'absent' }
  for (const url of urls) {
    const fetched = await fetchOne(url, ticket, parts)
    if (fetched.kind === 'copy') return fetched
    if (fetched.kind === 'unreachable') worst = fetched
  }
  return worst
}

async function fetchOne(
  url: string,
  ticket: string,
  { fetch, onProgress, patience = 30_000 }: CopyParts,
): Promise<Fetched> {
  const stop = new AbortController()
  const wait = () => setTimeout(() => stop.abort(), patience)
  let waiting = wait()
  try {
    const response = await fetch(url, {
      headers: { Authorization: `Bearer ${ticket}` },
      credentials: 'omit',
      cache: 'no-store',
      referrerPolicy: 'no-referrer',
      signal: stop.signal,
    })
    if (response.status === 404 || response.status === 410) return { kind: 'absent' }
    if (!response.ok || response.body === null) return { kind: 'unreachable' }
    const length = Number(response.headers.get('Content-Length') ?? Number.NaN)
    const all = Number.isSafeInteger(length) ? length : null
    const octets = await collect(response.body, (have) => {
      clearTimeout(waiting)
      waiting = wait()
      onProgress(have, all)
    })
    return { kind: 'copy', octets }
  } catch {
    // A broken or refused connection gives a TypeError without a reason.
    return { kind: 'unreachable' }
  } finally {
    clearTimeout(waiting)
  }
}

async function collect(body: ReadableStream<Uint8Array>, onOctets: (have: number) => void) {
  const pieces: Uint8Array<ArrayBuffer>[] = []
  const reader = body.getReader()
  let have = 0
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    have += next.value.length
    if (have > LARGEST_COPY) {
      await reader.cancel()
      break
    }
    pieces.push(new Uint8Array(next.value))
    onOctets(have)
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer())
}
