import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { octetsOf, type Step } from './dialogue-file.ts'

/** How long an answer may take, milliseconds. */
const PATIENCE = 12_000
const REPLY = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/

/** Plays the client of a dialogue. Rejects, naming the line, as soon as the server says something else. */
export async function converse(port: number, steps: readonly Step[]): Promise<void> {
  const client = await openClient(port)
  let reply = ''
  let failure: Error | null = null
  for (const { line, key, text } of steps) {
    const act = acts[key]
    if (act === undefined) throw new Error(`line ${line}: ${key} is no word of a dialogue`)
    try {
      reply = (await act(client, octetsOf(text), reply)) ?? reply
    } catch (error) {
      failure = new Error(`line ${line}: ${key}: ${text}: ${error instanceof Error ? error.message : String(error)}`)
      break
    }
  }
  client.destroy()
  if (failure !== null) throw failure
}

type Client = {
  write(text: string): void
  /** The next whole reply; null once the connection is closed. */
  reply(): Promise<string | null>
  /** What came and was not read. */
  rest(): string
  end(): void
  startTls(): Promise<void>
  destroy(): void
}

type Act = (client: Client, text: string, last: string) => Promise<string | undefined>

const acts: Readonly<Record<string, Act>> = {
  C: async (client, text) => void client.write(`${text}\r\n`),
  'C-raw': async (client, text) => void client.write(text),
  'C-pause': async (_, text) => void (await sleep(Number(text))),
  'C-end': async (client) => void client.end(),
  'C-tls': async (client) => void (await client.startTls()),
  /** One octet at a time. */
  'C-drip': async (client, text) => {
    for (const octet of `${text}\r\n`) {
      client.write(octet)
      await sleep(5)
    }
    return undefined
  },
  S: async (client, text) => {
    const reply = await client.reply()
    if (reply === null) throw new Error('the connection was closed')
    if (!fits(reply, text)) throw new Error(`the server said ${reply.slice(0, 300)}`)
    return reply
  },
  'S-has': async (_, text, last) => {
    if (!last.includes(text)) throw new Error(`it is not in ${last}`)
    return undefined
  },
  'S-lacks': async (_, text, last) => {
    if (last.includes(text)) throw new Error(`it is in ${last}`)
    return undefined
  },
  'S-end': async (client) => {
    const reply = await client.reply()
    if (reply !== null) throw new Error(`the server said ${reply.slice(0, 300)}`)
    return undefined
  },
  'S-none': async (client, text) => {
    await sleep(Number(text))
    if (client.rest() !== '') throw new Error(`the server said ${client.rest().slice(0, 300)}`)
    return undefined
  },
}

/** A beginning, with `*` for anything between; or a whole expression between slashes. */
function fits(reply: string, pattern: string): boolean {
  const expression = /^\/(.*)\/$/s.exec(pattern)?.[1]
  if (expression !== undefined) return new RegExp(expression, 's').test(reply)
  const pieces = pattern.split('*').map((piece) => piece.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'))
  return new RegExp(`^${pieces.join('.*')}`, 's').test(reply)
}

async function openClient(port: number): Promise<Client> {
  let socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  let text = ''
  let ended = false
  let wake: () => void = () => undefined
  const listen = () => {
    socket.on('data', (octets: Buffer) => {
      text += octets.toString('latin1')
      wake()
    })
    // A connection that is cut is what some dialogues are about.
    socket.on('error', () => undefined)
    for (const event of ['end', 'close'])
      socket.on(event, () => {
        ended = true
        wake()
      })
  }
  listen()
  await once(socket, 'connect')
  return {
    write: (piece) => void socket.write(piece, 'latin1'),
    async reply() {
      const until = performance.now() + PATIENCE
      for (;;) {
        const [found] = REPLY.exec(text) ?? []
        if (found !== undefined) {
          text = text.slice(found.length)
          return found.trimEnd().replaceAll('\r\n', '\n')
        }
        if (ended) return null
        if (performance.now() > until) throw new Error(`no answer within ${PATIENCE} ms, only ${text.slice(0, 300)}`)
        await Promise.race([
          new Promise<void>((resolve) => (wake = resolve)),
          sleep(PATIENCE, undefined, { ref: false }),
        ])
      }
    },
    rest: () => text,
    end: () => void socket.end(),
    async startTls() {
      socket.removeAllListeners()
      socket = connectTls({ socket, rejectUnauthorized: false })
      await once(socket, 'secureConnect')
      listen()
    },
    destroy: () => void socket.destroy(),
  }
}
