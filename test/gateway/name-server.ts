import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import {
  type Answer,
  AUTHENTIC_DATA,
  decode,
  encode,
  type Packet,
  type Question,
  streamEncode,
  TRUNCATED_RESPONSE,
} from 'dns-packet'
import type { Test } from 'tap'
import type { DnsServer } from '../../gateway/dns-server.ts'

/**
 * What a name server knows: by name and type, such as `example.org MX`, its records: for MX `10 mx.example.org`, for TLSA `3 1 1 <hex>`. A name
 * with an empty list is there; one that stands nowhere does not exist.
 */
export type Zone = Record<string, readonly string[]>

export type NameServer = {
  readonly server: DnsServer
  /** May be changed at any time. */
  readonly zone: Zone
  /** Ends of names whose answers are said to be validated. */
  readonly signed: Set<string>
  /** Names, or a name with its type such as `example.org A`, that are answered SERVFAIL. */
  readonly broken: Set<string>
  /** Names whose answers do not fit UDP. */
  readonly large: Set<string>
  /** Sent before the answer, by UDP. */
  forged: ((question: Question, id: number) => Uint8Array) | null
  readonly asked: string[]
}

/** A recursive name server on 127.0.0.1, by UDP and TCP, that follows aliases. */
export async function startNameServer(t: Test, zone: Zone = {}): Promise<NameServer> {
  const udp = createSocket('udp4')
  const tcp = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (octets) => {
      const { id, question } = read(octets.subarray(2))
      socket.end(streamEncode(answer(id, question, true)))
    })
  })
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const { port } = tcp.address() as AddressInfo
  udp.bind(port, '127.0.0.1')
  await once(udp, 'listening')
  const known: NameServer = {
    ...{ server: { address: '127.0.0.1', port }, zone, asked: [], forged: null },
    ...{ signed: new Set<string>(), broken: new Set<string>(), large: new Set<string>() },
  }

  function answer(id: number, question: Question, whole: boolean): Packet {
    known.asked.push(`${question.name} ${question.type}`)
    const answers = answersTo(known.zone, question)
    const last = answers.at(-1)
    const end = last?.type === 'CNAME' ? last.data : (last?.name ?? question.name)
    const exists = answers.length > 0 || Object.keys(known.zone).some((key) => key.startsWith(`${end.toLowerCase()} `))
    const names = [question.name, ...answers.map(({ name }) => name)]
    const secure = names.every((name) => [...known.signed].some((suffix) => name.endsWith(suffix)))
    const cut = !whole && known.large.has(question.name)
    const broken = known.broken.has(question.name) || known.broken.has(`${question.name} ${question.type}`)
    const rcode = broken ? 2 : exists ? 0 : 3
    return {
      ...{ type: 'response', id, questions: [question], answers: cut || rcode !== 0 ? [] : answers },
      flags: rcode | (secure ? AUTHENTIC_DATA : 0) | (cut ? TRUNCATED_RESPONSE : 0),
    }
  }

  udp.on('message', (octets, from) => {
    const { id, question } = read(octets)
    if (known.forged !== null) udp.send(known.forged(question, id), from.port, from.address)
    udp.send(encode(answer(id, question, false)), from.port, from.address)
  })
  t.teardown(() => {
    udp.close()
    tcp.close()
  })
  return known
}

function read(octets: Buffer): { readonly id: number; readonly question: Question } {
  const { id = 0, questions: [question] = [] } = decode(octets)
  if (question === undefined) throw new Error('a query without a question')
  return { id, question }
}

function answersTo(zone: Zone, { name, type }: Question): Answer[] {
  const found: Answer[] = []
  let at = name.toLowerCase()
  for (
    let alias = zone[`${at} CNAME`]?.[0];
    alias !== undefined && found.length < 20;
    alias = zone[`${at} CNAME`]?.[0]
  ) {
    found.push({ type: 'CNAME', name: at, data: alias })
    at = alias
  }
  return [...found, ...(zone[`${at} ${type}`] ?? []).map((record) => recordOf(at, type, record))]
}

function recordOf(name: string, type: string, record: string): Answer {
  const [first = '', second = '', third = '', fourth = ''] = record.split(' ')
  switch (type) {
    case 'MX':
      return { type, name, data: { preference: Number(first), exchange: second } }
    case 'TXT':
      return { type, name, data: record.match(/.{1,200}/g) ?? [''] }
    case 'TLSA':
      return {
        ...{ type, name },
        data: {
          ...{ usage: Number(first), selector: Number(second), matchingType: Number(third) },
          certificate: Buffer.from(fourth, 'hex'),
        },
      }
    default:
      return { type: type === 'A' ? 'A' : 'AAAA', name, data: record }
  }
}
