import { connect, type Socket } from 'node:net'
import { startTls, type TlsPolicy } from './tls-policy.ts'

/** Where a scanner listens. */
export type ScannerPlace =
  | { readonly kind: 'socket'; readonly path: string }
  /** With `tls: null` in clear. */
  | { readonly kind: 'host'; readonly host: string; readonly port: number; readonly tls: TlsPolicy | null }

/** A scanner that could not be reached, broke off, or said what makes no sense. The message is for people. */
export class ScannerFault extends Error {
  override readonly name = 'ScannerFault'
}

/** One connection to a scanner; it knows no protocol. Whatever is awaited rejects with {@link ScannerFault} when it cannot come any more. */
export type ScannerWire = {
  /** Resolves when more may be written. */
  write(octets: Uint8Array): Promise<void>
  /** Whether something came that was not read yet. */
  said(): boolean
  /** All up to and without the end; more than `limit` octets of it are a fault. */
  readTo(end: string, limit: number): Promise<Buffer>
  /** Between one and `most` octets. */
  readSome(most: number): Promise<Buffer>
  close(): void
}

/** Octets that wait to be read; with more, the scanner has to wait. */
const HELD_LIMIT = 256 * 1024

/** The end of `signal` ends the connection. */
export async function openScannerWire(place: ScannerPlace, signal: AbortSignal): Promise<ScannerWire> {
  const socket = await connected(place, signal)
  if (place.kind === 'socket' || place.tls === null) return createWire(socket, signal)
  try {
    const secure = await startTls(socket, place.host, place.tls, TLS_MS)
    return createWire(secure, signal)
  } catch (cause) {
    throw new ScannerFault('TLS with the scanner failed', { cause })
  }
}

const TLS_MS = 10_000

function connected(place: ScannerPlace, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { kind } = place
    const socket = connect(
      kind === 'socket' ? { path: place.path } : { host: place.host, port: place.port, noDelay: true },
    )
    const fail = (cause: unknown) => {
      socket.destroy()
      const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
      reject(new ScannerFault(`the scanner could not be reached${code}`, { cause }))
    }
    const late = () => fail(signal.reason)
    if (signal.aborted) late()
    signal.addEventListener('abort', late, { once: true })
    socket.once('error', fail)
    socket.once('connect', () => {
      signal.removeEventListener('abort', late)
      socket.removeListener('error', fail)
      resolve(socket)
    })
  })
}

function createWire(socket: Socket, signal: AbortSignal): ScannerWire {
  let held: Buffer = Buffer.alloc(0)
  let fault: ScannerFault | null = null
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const one of [...waiting]) one()
  }
  const fail = (message: string, cause?: unknown) => {
    fault ??= new ScannerFault(message, { cause })
    socket.destroy()
    wake()
  }
  const late = () => fail('the scanner did not answer in time', signal.reason)
  if (signal.aborted) late()
  signal.addEventListener('abort', late, { once: true })
  socket.on('data', (octets: Buffer) => {
    held = Buffer.concat([held, octets])
    if (held.length > HELD_LIMIT) socket.pause()
    wake()
  })
  socket.on('drain', wake)
  socket.on('error', (cause) => fail('the connection to the scanner broke', cause))
  socket.on('close', () => {
    signal.removeEventListener('abort', late)
    fail('the scanner closed the connection')
  })

  /** Resolves at the next event of the socket. */
  const next = () =>
    new Promise<void>((resolve) => {
      const done = () => {
        waiting.delete(done)
        resolve()
      }
      waiting.add(done)
    })
  const take = (count: number) => {
    const taken = held.subarray(0, count)
    held = held.subarray(count)
    if (held.length <= HELD_LIMIT) socket.resume()
    return taken
  }

  return {
    async write(octets) {
      if (fault !== null) throw fault
      if (socket.write(octets)) return
      while (socket.writableNeedDrain) {
        if (fault !== null) throw fault
        await next()
      }
    },
    said: () => held.length > 0,
    async readTo(end, limit) {
      for (;;) {
        const at = held.indexOf(end, 0, 'latin1')
        if (at !== -1 && at <= limit) return take(at + end.length).subarray(0, at)
        if (held.length > limit) throw new ScannerFault('the scanner answers more than makes sense')
        if (fault !== null) throw fault
        await next()
      }
    },
    async readSome(most) {
      while (held.length === 0) {
        if (fault !== null) throw fault
        await next()
      }
      return take(Math.min(most, held.length))
    },
    close: () => socket.destroy(),
  }
}
