import { createSocket } from 'node:dgram'
import { once } from 'node:events'

/** Answers by name and type, such as `acme.example MX` or `acme.example TXT`; a name without any is said not to be there. */
export type Zone = Readonly<Record<string, readonly string[]>>

const TYPES: Readonly<Record<number, string>> = { 1: 'A', 15: 'MX', 16: 'TXT', 28: 'AAAA' }

/** A name server on 127.0.0.1 that knows just enough of RFC 1035. Port 0 of the address is any free one. */
export async function startDnsServer(zone: Zone): Promise<{ readonly address: string; close(): Promise<void> }> {
  const socket = createSocket('udp4')
  socket.on('message', (query, from) => socket.send(answer(query, zone), from.port, from.address))
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    address: `127.0.0.1:${socket.address().port}`,
    close: async () => {
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}

function answer(query: Buffer, zone: Zone): Buffer {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const name = labels.join('.').toLowerCase()
  const type = TYPES[query.readUInt16BE(at + 1)] ?? ''
  const records = zone[`${name} ${type}`] ?? []
  const known = Object.keys(zone).some((entry) => entry.startsWith(`${name} `))
  const header = Buffer.from(query.subarray(0, 12))
  header.writeUInt16BE(known ? 0x8180 : 0x8183, 2)
  for (const [place, count] of [1, records.length, 0, 0].entries()) header.writeUInt16BE(count, 4 + 2 * place)
  return Buffer.concat([header, query.subarray(12, at + 5), ...records.map((record) => recordOf(record, type))])
}

function recordOf(record: string, type: string): Buffer {
  const data = type === 'MX' ? exchange(record) : strings(record)
  const head = Buffer.from([0xc0, 12, 0, type === 'MX' ? 15 : 16, 0, 1, 0, 0, 0, 60, 0, 0])
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

/** `10 mx.acme.example` */
function exchange(record: string): Buffer {
  const [priority = '0', host = ''] = record.split(' ')
  const labels = host.split('.').filter(Boolean)
  const name = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')]))
  return Buffer.concat([Buffer.from([0, Number(priority)]), ...name, Buffer.from([0])])
}

function strings(text: string): Buffer {
  const parts = text.match(/.{1,255}/g) ?? ['']
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.from([part.length]), Buffer.from(part, 'latin1')])))
}
