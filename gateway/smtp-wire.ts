import { connect, type Socket } from 'node:net'
import { createReplyReader, type Reply } from './smtp-reply.ts'
import { startTls, type TlsPolicy } from './tls-policy.ts'

/** A connection that ended, or was ended, before the answer came. The message is for people. */
export class WireFault extends Error {
  override readonly name = 'WireFault'
}

/** One SMTP connection as replies and writes; it knows no commands. */
export type Wire = {
  /** The next reply. Rejects with {@link WireFault} if the connection ends first, or after `timeoutMs`; it is unusable then. */
  reply(timeoutMs: number): Promise<Reply>
  /** A reply that came although none was awaited, else null. */
  unasked(): Reply | null
  /** Whether a part of a reply is here; where none is awaited, nobody has asked for it. */
  hasBegun(): boolean
  /** Resolves when more may be written; rejects as `reply` does. */
  write(octets: string, timeoutMs: number): Promise<void>
  /** The same for octets that are used again afterwards: resolves, or rejects as `reply` does, when nobody reads them any more. */
  give(octets: Uint8Array, timeoutMs: number): Promise<void>
  /** TLS from here on. Rejects if anything came in clear behind the answer to STARTTLS. */
  secure(host: string, policy: TlsPolicy, timeoutMs: number): Promise<void>
  readonly alive: boolean
  end(last: string): void
  destroy(reason: string): void
}

type Waiter = { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void }

/** Whom to connect to: `address` in the place of resolving the host's name, where it is given. */
type Place = { readonly host: string; readonly address?: string; readonly port: number }

/** Connects. Rejects with {@link WireFault}. */
export async function openWire(place: Place, timeoutMs: number): Promise<Wire> {
  return createWire(await openSocket(place, timeoutMs))
}

/** Connects with TLS from the first octet (RFC 8314). Rejects with {@link WireFault}. */
export async function openSecureWire(place: Place, policy: TlsPolicy, timeoutMs: number): Promise<Wire> {
  const socket = await openSocket(place, timeoutMs)
  return createWire(await tls(socket, place.host, policy, timeoutMs))
}

async function tls(socket: Socket, host: string, policy: TlsPolicy, timeoutMs: number): Promise<Socket> {
  try {
    return await startTls(socket, host, policy, timeoutMs)
  } catch (error) {
    throw new WireFault(`TLS with the next hop failed: ${reasonOf(error)}`)
  }
}

/** OpenSSL's own words stand in `reason`; its messages name addresses in memory and lines of its source. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no reason given'
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message
}

function openSocket({ host, address, port }: Place, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address ?? host, port, noDelay: true, autoSelectFamily: true })
    const fail = (text: string) => {
      clearTimeout(timer)
      socket.destroy()
      reject(new WireFault(`${host}:${port} ${text}`))
    }
    const timer = setTimeout(() => fail('did not answer in time'), timeoutMs)
    socket.once('error', (error: NodeJS.ErrnoException) => fail(`could not be reached (${error.code ?? 'error'})`))
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error')
      resolve(socket)
    })
  })
}

function createWire(first: Socket): Wire {
  let socket = first
  let reader = createReplyReader()
  let fault: WireFault | null = null
  const replies: Reply[] = []
  const waiters: Waiter[] = []
  const drains = new Set<(error: WireFault | null) => void>()

  const fail = (reason: string) => {
    if (fault !== null) return
    fault = new WireFault(reason)
    socket.destroy()
    for (const waiter of waiters.splice(0)) waiter.reject(fault)
    for (const drained of [...drains]) drained(fault)
  }
  const onData = (octets: Uint8Array) => {
    try {
      for (const reply of reader.push(octets)) {
        const waiter = waiters.shift()
        if (waiter !== undefined) waiter.resolve(reply)
        else if (replies.push(reply) > 1024) fail('the next hop said far more than it was asked')
      }
    } catch (error) {
      fail(`the next hop sent ${error instanceof Error ? error.message : 'no SMTP reply'}`)
    }
  }
  const listen = () => {
    socket.on('data', onData)
    socket.on('drain', () => {
      for (const drained of [...drains]) drained(null)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => fail(`the connection broke (${error.code ?? 'error'})`))
    socket.on('end', () => fail('the next hop closed the connection'))
    socket.on('close', () => fail('the connection was closed'))
  }
  listen()

  return {
    get alive() {
      return fault === null && !socket.destroyed
    },
    unasked: () => replies.shift() ?? null,
    hasBegun: () => !reader.empty(),
    reply(timeoutMs) {
      const early = replies.shift()
      if (early !== undefined) return Promise.resolve(early)
      if (fault !== null) return Promise.reject(fault)
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => fail('the next hop did not answer in time'), Math.max(1, timeoutMs))
        waiters.push({
          resolve: (reply) => {
            clearTimeout(timer)
            resolve(reply)
          },
          reject: (error) => {
            clearTimeout(timer)
            reject(error)
          },
        })
      })
    },
    write(octets, timeoutMs) {
      if (fault !== null) return Promise.reject(fault)
      return socket.write(octets, 'utf8') ? Promise.resolve() : drain(drains, fail, timeoutMs)
    },
    give(octets, timeoutMs) {
      if (fault !== null) return Promise.reject(fault)
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => fail('the next hop stopped reading'), Math.max(1, timeoutMs))
        // It is called in any case: a socket that is destroyed lets go of what it was writing.
        socket.write(octets, (error) => {
          clearTimeout(timer)
          if (error) fail('the connection was closed')
          if (fault === null) resolve()
          else reject(fault)
        })
      })
    },
    async secure(host, policy, timeoutMs) {
      if (!reader.empty() || replies.length > 0) {
        fail('the next hop sent commands in clear behind its answer to STARTTLS')
        throw fault ?? new WireFault('the connection was closed')
      }
      const clear = socket
      clear.removeAllListeners()
      clear.on('error', () => fail('the connection broke during the TLS handshake'))
      socket = await tls(clear, host, policy, timeoutMs)
      reader = createReplyReader()
      listen()
    },
    end(last) {
      if (fault !== null) return
      fault = new WireFault('the connection was ended')
      socket.removeAllListeners('data').resume()
      socket.end(last)
      socket.setTimeout(5_000, () => socket.destroy())
    },
    destroy: fail,
  }
}

function drain(
  drains: Set<(error: WireFault | null) => void>,
  fail: (reason: string) => void,
  timeoutMs: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail('the next hop stopped reading'), Math.max(1, timeoutMs))
    const drained = (error: WireFault | null) => {
      clearTimeout(timer)
      drains.delete(drained)
      if (error === null) resolve()
      else reject(error)
    }
    drains.add(drained)
  })
}
