import type { BlockList, Socket } from 'node:net'
import type { Limits } from './limits.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { PROXY_HEADER_LIMIT, type ProxyHeader, readProxyHeader } from './proxy-protocol.ts'
import type { StrictServer } from './smtp-connection.ts'

/** What awaits a client at the door. */
export type Doorway = {
  readonly listener: string
  readonly connectionLimit: number
  /** Balancers, which must say in a PROXY header for whom they speak; null: none. */
  readonly proxies: BlockList | null
  readonly implicitTls: boolean
  readonly limits: Limits
  readonly log: Log
  readonly metrics: Metrics
  readonly server: StrictServer
}

/**
 * What happens to a connection before its SMTP begins: whether it may come in, whom it is from, and TLS where that comes first. Whoever may
 * not come in is told 421; where that would cost memory, the connection just ends.
 */
export type FrontDoor = {
  /** The client meets what `doorway` says now. */
  meet(socket: Socket, doorway: Doorway): void
  /** Ends the connections of balancers that have not said yet for whom they speak. */
  clear(): void
}

/** Clients that are read their refusal at the same time; more get none. */
export const REFUSALS = 256
const REFUSAL_MS = 1000
const PROXY_HEADER_MS = 5000
const HANDSHAKE_MS = 30_000

type Guest = { readonly socket: Socket; readonly doorway: Doorway; readonly leave: () => void }

export function createFrontDoor(): FrontDoor {
  const guests = new Set<Socket>()
  const waiting = new Set<Socket>()
  let refusing = 0

  function refuse(socket: Socket, { listener, implicitTls, log, metrics }: Doorway, reason: string): void {
    metrics.refused('connection')
    log.debug('connection refused', { listener, client: socket.remoteAddress ?? '', reason })
    if (implicitTls || refusing >= REFUSALS) {
      socket.destroy()
      return
    }
    refusing += 1
    const timer = setTimeout(() => socket.destroy(), REFUSAL_MS)
    socket.once('close', () => {
      clearTimeout(timer)
      refusing -= 1
    })
    socket.end(`421 4.7.0 ${reason}, try again later\r\n`)
    socket.resume()
  }

  function enter(guest: Guest, { address, port, nobody }: Whom): void {
    const { socket, doorway } = guest
    const release = doorway.limits.admit({ listener: doorway.listener, address })
    if (release === null) {
      guest.leave()
      refuse(socket, doorway, 'too many connections or errors from your network')
      return
    }
    const onGone = () => {
      release()
      guest.leave()
    }
    const arrival = { remoteAddress: address, remotePort: port, nobody, onGone }
    if (doorway.implicitTls) secure(guest, doorway.server, onGone, (tls) => doorway.server.connect(tls, arrival))
    else doorway.server.connect(socket, arrival)
  }

  return {
    meet(socket, doorway) {
      socket.on('error', () => socket.destroy())
      if (guests.size >= doorway.connectionLimit) {
        refuse(socket, doorway, 'too many connections')
        return
      }
      guests.add(socket)
      const guest = { socket, doorway, leave: () => void guests.delete(socket) }
      const peer: Whom = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0, nobody: false }
      if (doorway.proxies === null || !isIn(doorway.proxies, peer.address)) {
        enter(guest, peer)
        return
      }
      waiting.add(socket)
      introduce(guest, peer, (whom) => {
        waiting.delete(socket)
        if (whom !== null) enter(guest, whom)
      })
    },
    clear() {
      for (const socket of waiting) socket.destroy()
    },
  }
}

type Whom = { readonly address: string; readonly port: number; readonly nobody: boolean }

/** Reads whom a balancer speaks for. What else it says ends the connection: null. */
function introduce(guest: Guest, balancer: Whom, then: (whom: Whom | null) => void): void {
  const { socket, doorway, leave } = guest
  let octets = Buffer.alloc(0)
  const stop = () => {
    clearTimeout(timer)
    socket.off('readable', read).off('close', left)
  }
  const left = () => {
    stop()
    leave()
    then(null)
  }
  const fail = (reason: string) => {
    doorway.metrics.refused('proxy-header')
    doorway.log.warn('balancer refused', { listener: doorway.listener, client: balancer.address, reason })
    left()
    socket.destroy()
  }
  const read = () => {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) return
    octets = Buffer.concat([octets, chunk])
    const header = readProxyHeader(octets)
    if (header.kind === 'refused') fail(header.reason)
    else if (header.kind !== 'more') go(header)
    else if (octets.length > PROXY_HEADER_LIMIT) fail('a PROXY header that is too long')
  }
  const go = (header: Exclude<ProxyHeader, { kind: 'more' | 'refused' }>) => {
    stop()
    if (octets.length > header.length) socket.unshift(octets.subarray(header.length))
    then(header.kind === 'nobody' ? { ...balancer, nobody: true } : { ...header, nobody: false })
  }
  const timer = setTimeout(() => fail('no PROXY header came in time'), PROXY_HEADER_MS)
  socket.on('readable', read).on('close', left)
}

/** TLS from the first octet. */
function secure(
  guest: Guest,
  server: StrictServer,
  onGone: () => void,
  then: (tls: Parameters<StrictServer['connect']>[0]) => void,
): void {
  const { socket, doorway } = guest
  // The library keeps the topmost socket here: to end the lower one in the middle of a handshake would crash the process.
  server._pendingSockets.set(socket, socket)
  const timer = setTimeout(() => server._pendingSockets.get(socket)?.destroy(), HANDSHAKE_MS)
  server._upgrade(socket, (error, tls) => {
    clearTimeout(timer)
    server._pendingSockets.delete(socket)
    if (error === null && tls !== undefined) {
      then(tls)
      return
    }
    doorway.log.info('connection failed', { listener: doorway.listener, cause: error })
    socket.destroy()
    onGone()
  })
}

function isIn(ranges: BlockList, address: string): boolean {
  return ranges.check(address, address.includes(':') ? 'ipv6' : 'ipv4')
}
