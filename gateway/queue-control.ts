import { randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { writeDurably } from './durable-file.ts'
import type { Spool } from './spool.ts'

/** Where a running gateway takes orders for its spool: `{port, token}` in a file that only its owner can read. */
export type QueueAddress = { readonly port: number; readonly token: string }

export type QueueAnswer =
  | { readonly kind: 'done'; readonly count: number }
  | { readonly kind: 'busy' | 'unknown' | 'refused' }

export type QueueControl = { close(): Promise<void> }

type Order = { readonly act?: unknown; readonly id?: unknown; readonly bounce?: unknown }

const LONGEST = 4096

/**
 * Takes orders of `sealpost queue` on a loopback port of its own, from whoever can read `file`: a token in it is made anew at each start. A socket
 * in the data folder would do without, but its path may be no longer than 107 octets.
 */
export async function openQueueControl(
  file: string,
  spool: Pick<Spool, 'flush' | 'hold' | 'drop'>,
): Promise<QueueControl> {
  const token = randomBytes(32)
  const server = createServer((request, response) => {
    const answer = (status: number, body: QueueAnswer) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(`${JSON.stringify(body)}\n`)
    }
    if (!bears(request, token)) return answer(401, { kind: 'refused' })
    read(request)
      .then((order) => obey(spool, order))
      .then(
        (body) => answer(body.kind === 'refused' ? 400 : 200, body),
        () => answer(400, { kind: 'refused' }),
      )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const address: QueueAddress = { port, token: token.toString('base64url') }
  await writeDurably(file, `${JSON.stringify(address)}\n`)
  return {
    async close() {
      await rm(file, { force: true })
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function bears(request: IncomingMessage, token: Uint8Array): boolean {
  const given = Buffer.from(/^Bearer ([\w-]{43})$/.exec(request.headers.authorization ?? '')?.[1] ?? '', 'base64url')
  return request.method === 'POST' && given.length === token.length && timingSafeEqual(given, token)
}

async function read(request: IncomingMessage): Promise<Order> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > LONGEST) throw new Error('too long')
  }
  return JSON.parse(text) as Order
}

async function obey(spool: Pick<Spool, 'flush' | 'hold' | 'drop'>, { act, id, bounce }: Order): Promise<QueueAnswer> {
  if (act === 'flush' && id === null) return { kind: 'done', count: spool.flush(null) }
  if (typeof id !== 'string') return { kind: 'refused' }
  switch (act) {
    case 'flush':
      return spool.flush(id) === 0 ? { kind: 'unknown' } : { kind: 'done', count: 1 }
    case 'hold':
      return (await spool.hold(id)) ? { kind: 'done', count: 1 } : { kind: 'unknown' }
    case 'drop': {
      const dropped = await spool.drop(id, bounce === true)
      return dropped === 'dropped' ? { kind: 'done', count: 1 } : { kind: dropped }
    }
    default:
      return { kind: 'refused' }
  }
}
