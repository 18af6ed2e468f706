import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

/** Where a conversation with the provider stands. `dot`: the content is whole and not yet kept; `answer`: it is kept, and not yet answered. */
export type Moment = {
  readonly phase: 'banner' | 'ehlo' | 'mail' | 'rcpt' | 'data' | 'content' | 'dot' | 'answer'
  /** The command as it came; '' where there is none. */
  readonly line: string
  /** Counted from 1 over the provider's life. */
  readonly connection: number
  readonly recipients: readonly string[]
  /** Octets of content that have come, as on the wire. */
  readonly size: number
}

/** What to do: undefined goes on like every provider, null cuts the connection, a text is said instead. A promise stalls until it settles. */
export type Act = string | null | undefined
export type Script = (moment: Moment) => Act | Promise<Act>

/** A mail that the provider kept: from then on it is delivered, whatever its client was told. */
export type Kept = {
  readonly sender: string
  readonly recipients: readonly string[]
  readonly octets: Buffer
  /** Unix milliseconds. */
  readonly at: number
  /** Whether the answer to the dot went out. */
  answered: boolean
}

export type FlakyProvider = {
  readonly port: number
  readonly kept: readonly Kept[]
  /** Every octet of content that ever came, whole mail or not. */
  readonly seen: readonly Buffer[]
  /** Replaces the script; null: takes everything. */
  play(script: Script | null): void
  /** Cuts every connection and stops listening, as a crash would. */
  kill(): Promise<void>
  /** Listens again on the same port; nothing that was kept is gone. */
  start(): Promise<void>
}

const EHLO = '250-provider.example\r\n250-PIPELINING\r\n250-SIZE 60000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES'

/** An SMTP server in the provider's place that fails wherever a script wants it to. */
export async function startFlakyProvider(): Promise<FlakyProvider> {
  const kept: Kept[] = []
  const seen: Buffer[] = []
  const sockets = new Set<Socket>()
  let script: Script | null = null
  let connections = 0
  let server: Server | null = null
  let port = 0

  async function listen(): Promise<void> {
    server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => socket.destroy())
      serve(socket, ++connections).catch(() => socket.destroy())
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address !== null && typeof address === 'object') port = address.port
  }

  async function serve(socket: Socket, connection: number): Promise<void> {
    const wire = createWire(socket, seen)
    let sender = ''
    let recipients: string[] = []
    /** False where the conversation is over. `usual` is said where the script says nothing. */
    const act = async (phase: Moment['phase'], line: string, usual: string | null): Promise<string | false> => {
      const told = await script?.({ phase, line, connection, recipients, size: wire.size() })
      if (told === null) socket.destroy()
      if (told === null || socket.destroyed) return false
      const said = told ?? usual
      if (said !== null) socket.write(`${said}\r\n`)
      if (said?.startsWith('421')) socket.end()
      return said ?? ''
    }
    const take = async (): Promise<boolean> => {
      const octets = await wire.content(async () => (await act('content', '', null)) !== false)
      if (octets === null) return false
      const refused = await act('dot', '', null)
      if (refused === false) return false
      if (refused !== '') return true
      const mail: Kept = { sender, recipients, octets, at: Date.now(), answered: false }
      kept.push(mail)
      const said = await act('answer', '', `250 2.0.0 kept as ${kept.length}`)
      mail.answered = said !== false
      return said !== false
    }
    if ((await act('banner', '', '220 provider.example ESMTP')) === false) return
    for (let line = await wire.line(); line !== null; line = await wire.line()) {
      const verb = line.slice(0, 4).toUpperCase()
      if (verb === 'EHLO') {
        if ((await act('ehlo', line, EHLO)) === false) return
      } else if (verb === 'MAIL') {
        const said = await act('mail', line, '250 2.1.0 ok')
        if (said === false) return
        if (said.startsWith('2')) [sender, recipients] = [pathIn(line), []]
      } else if (verb === 'RCPT') {
        const said = await act('rcpt', line, '250 2.1.5 ok')
        if (said === false) return
        if (said.startsWith('2')) recipients = [...recipients, pathIn(line)]
      } else if (verb === 'DATA') {
        const said = await act('data', line, '354 go on')
        if (said === false || (said.startsWith('354') && !(await take()))) return
      } else {
        socket.write(verb === 'QUIT' ? '221 2.0.0 bye\r\n' : '250 2.0.0 ok\r\n')
        if (verb === 'QUIT') socket.end()
      }
    }
  }

  await listen()
  return {
    port,
    kept,
    seen,
    play: (next) => {
      script = next
    },
    kill: async () => {
      const closing = server
      server = null
      for (const socket of sockets) socket.destroy()
      if (closing !== null) await once(closing.close(), 'close')
    },
    start: async () => {
      if (server === null) await listen()
    },
  }
}

type Wire = {
  /** The next line without its end; null where there is none. */
  line(): Promise<string | null>
  /** The content without its dots; null where it is cut off, or `begun`, asked once when the first octets are here, says no. */
  content(begun: () => Promise<boolean>): Promise<Buffer | null>
  size(): number
}

function createWire(socket: Socket, seen: Buffer[]): Wire {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer, unknown>
  let rest: Buffer = Buffer.alloc(0)
  let size = 0
  const more = async (): Promise<boolean> => {
    const next = await chunks.next().catch(() => null)
    if (next === null || next.done === true) return false
    rest = Buffer.concat([rest, next.value])
    return true
  }
  return {
    size: () => size,
    async line() {
      for (;;) {
        const end = rest.indexOf('\r\n')
        if (end !== -1) {
          const line = rest.subarray(0, end).toString('latin1')
          rest = rest.subarray(end + 2)
          return line
        }
        if (!(await more())) return null
      }
    },
    async content(begun) {
      const pieces: Buffer[] = []
      // As if the line before had just ended: a content may be empty.
      let tail: Buffer = Buffer.from('\r\n')
      size = 0
      for (let asked = false; ; asked = true) {
        if (rest.length === 0 && !(await more())) return null
        const looked = Buffer.concat([tail, rest])
        const end = looked.indexOf('\r\n.\r\n')
        const whole = size - tail.length + end + (size === 0 ? 4 : 2)
        pieces.push(rest)
        seen.push(rest)
        size += rest.length
        rest = end === -1 ? Buffer.alloc(0) : looked.subarray(end + 5)
        if (!asked && !(await begun())) return null
        if (end !== -1) return unstuffed(Buffer.concat(pieces).subarray(0, whole))
        tail = looked.subarray(-4)
      }
    },
  }
}

function unstuffed(content: Buffer): Buffer {
  return Buffer.from(content.toString('latin1').replace(/(^|\r\n)\./g, '$1'), 'latin1')
}

function pathIn(line: string): string {
  return /<([^>]*)>/.exec(line)?.[1] ?? ''
}
