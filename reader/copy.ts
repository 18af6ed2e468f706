/** What came of fetching a sealed copy. */
export type Fetched =
  | { readonly kind: 'copy'; readonly octets: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreachable' }

/** Sealed octets had so far, and all there are if that is known. */
export type Progress = (have: number, all: number | null) => void

/** The largest sealed copy that the page takes into memory, octets. */
export const LARGEST_COPY = 256 * 1024 * 1024

/** Fetches the sealed copy from the first of `urls` that has it. */
export async function fetchCopy(
  urls: readonly string[],
  ticket: string,
  { fetch, onProgress }: { readonly fetch: typeof globalThis.fetch; readonly onProgress: Progress },
): Promise<Fetched> {
  let worst: Fetched = { kind: 'absent' }
  for (const url of urls) {
    const fetched = await fetchOne(url, ticket, fetch, onProgress)
    if (fetched.kind === 'copy') return fetched
    if (fetched.kind === 'unreachable') worst = fetched
  }
  return worst
}

async function fetchOne(
  url: string,
  ticket: string,
  fetch: typeof globalThis.fetch,
  onProgress: Progress,
): Promise<Fetched> {
  try {
    const response = await fetch(url, {
      headers: { Authorization: `Bearer ${ticket}` },
      credentials: 'omit',
      cache: 'no-store',
      referrerPolicy: 'no-referrer',
    })
    if (response.status === 404 || response.status === 410) return { kind: 'absent' }
    if (!response.ok || response.body === null) return { kind: 'unreachable' }
    const length = Number(response.headers.get('Content-Length') ?? Number.NaN)
    const all = Number.isSafeInteger(length) ? length : null
    return { kind: 'copy', octets: await collect(response.body, (have) => onProgress(have, all)) }
  } catch {
    // A broken or refused connection gives a TypeError without a reason.
    return { kind: 'unreachable' }
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
