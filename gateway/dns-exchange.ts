import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import {
  AUTHENTIC_DATA,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  type Question,
  RECURSION_DESIRED,
  streamEncode,
} from 'dns-packet'
import type { DnsServer } from './dns-server.ts'

/** No server gave an answer that can be used: not the same as saying that there is no such record. */
export class DnsFault extends Error {
  override readonly name = 'DnsFault'
}

/** Octets of an answer by UDP that survive every path (RFC 9715 3). */
const UDP_SIZE = 1232
/** Of an answer by TCP. */
const TCP_SIZE = 65_537

/**
 * Asks one recursive server one question, by UDP and, where the answer does not fit, by TCP. The question bears the AD bit, so that a
 * validating server says whether the answer is authentic (RFC 6840 5.7). Rejects with {@link DnsFault}.
 */
export async function askServer(server: DnsServer, question: Question, timeoutMs: number): Promise<DecodedPacket> {
  const id = randomInt(65_536)
  const query: Packet = {
    ...{ type: 'query', id, flags: RECURSION_DESIRED | AUTHENTIC_DATA, questions: [question] },
    additionals: [
      {
        ...{ type: 'OPT', name: '.', udpPayloadSize: UDP_SIZE },
        ...{ extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
      },
    ],
  }
  const first = await overUdp(server, encode(query), (packet) => answers(packet, id, question), timeoutMs)
  if (!first.flag_tc) return first
  const whole = await overTcp(server, streamEncode(query), timeoutMs)
  if (!answers(whole, id, question)) throw new DnsFault(`${server.address} answered another question`)
  return whole
}

/** Whether the packet is the answer to just this question: anybody can send one. */
function answers(packet: DecodedPacket, id: number, { name, type }: Question): boolean {
  const [asked, second] = packet.questions ?? []
  if (packet.type !== 'response' || packet.id !== id || asked === undefined || second !== undefined) return false
  return asked.type === type && asked.name.toLowerCase() === name.toLowerCase()
}

function overUdp(
  { address, port }: DnsServer,
  query: Uint8Array,
  fits: (packet: DecodedPacket) => boolean,
  timeoutMs: number,
): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4')
    const end = (fault: string) => {
      clearTimeout(timer)
      socket.close()
      reject(new DnsFault(`${address} ${fault}`))
    }
    const timer = setTimeout(() => end('did not answer in time'), timeoutMs)
    socket.once('error', () => end('could not be asked'))
    socket.on('message', (octets) => {
      const packet = read(octets)
      // Not ours, or forged: the real one may still come.
      if (packet === null || !fits(packet)) return
      clearTimeout(timer)
      socket.close()
      resolve(packet)
    })
    // Connected, so that the system drops what comes from elsewhere.
    socket.connect(port, address, () => socket.send(query))
  })
}

function overTcp({ address, port }: DnsServer, query: Uint8Array, timeoutMs: number): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true })
    let held = Buffer.alloc(0)
    const end = (packet: DecodedPacket | string) => {
      clearTimeout(timer)
      socket.destroy()
      if (typeof packet === 'string') reject(new DnsFault(`${address} ${packet}`))
      else resolve(packet)
    }
    const timer = setTimeout(() => end('did not answer in time'), timeoutMs)
    socket.on('error', () => end('could not be asked by TCP'))
    socket.on('close', () => end('closed the connection'))
    socket.on('data', (octets) => {
      held = Buffer.concat([held, octets])
      if (held.length < 2 || held.length < 2 + held.readUInt16BE()) {
        if (held.length > TCP_SIZE) end('said too much')
        return
      }
      end(read(held.subarray(2)) ?? 'answered something that is no DNS')
    })
    socket.once('connect', () => socket.write(query))
  })
}

function read(octets: Buffer): DecodedPacket | null {
  try {
    return decode(octets)
  } catch {
    return null // Hostile or damaged octets: whoever asked waits for better ones.
  }
}
