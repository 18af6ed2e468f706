import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'

/** A next hop that says what a test wants it to say. It knows just enough SMTP to hear the content. */
export type ScriptedHop = {
  readonly port: number
  /** Every command line heard, in order, over all connections. */
  readonly commands: string[]
  /** What each read brought, in the clear part: shows what was pipelined. */
  readonly reads: string[]
  /** Contents as they were on the wire, each with its dot line. */
  readonly contents: string[]
  readonly connections: () => number
  close(): Promise<void>
}

export type Script = {
  readonly banner?: string
  readonly ehlo?: readonly string[]
  /** The answer to a command; undefined: 250 (354 for DATA where somebody was accepted, else 554; 221 for QUIT); null: the connection is cut. */
  readonly answer?: (command: string, connection: number, socket: Socket) => string | null | undefined
  /** The answer to the content; null: cut. */
  readonly content?: (content: string, connection: number) => string | null
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Said in one write with the answer to STARTTLS, in clear. */
  readonly injected?: string
  /** Where it listens; a free port of 127.0.0.1 if absent. */
  readonly at?: { readonly address: string; readonly port: number }
}

export async function startScriptedHop(script: Script = {}): Promise<ScriptedHop> {
  const commands: string[] = []
  const reads: string[] = []
  const contents: string[] = []
  const sockets = new Set<Socket>()
  let count = 0
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    const connection = ++count
    socket.on('error', () => sockets.delete(socket))
    socket.write(script.banner ?? '220 hop.example ESMTP\r\n')
    serve(socket, connection)
  })

  function serve(socket: Socket, connection: number) {
    let text = ''
    let searched = 0
    let inContent = false
    let accepted = 0
    socket.on('data', (octets: Buffer) => {
      reads.push(octets.toString('latin1'))
      text += octets.toString('latin1')
      for (;;) {
        if (inContent) {
          const end = text.startsWith('.\r\n') ? 0 : text.indexOf('\r\n.\r\n', Math.max(0, searched - 5))
          if (end === -1) {
            searched = text.length
            return
          }
          searched = 0
          const length = end === 0 && text.startsWith('.\r\n') ? 3 : end + 5
          contents.push(text.slice(0, length))
          text = text.slice(length)
          inContent = false
          const reply =
            script.content === undefined
              ? '250 2.0.0 queued as 1\r\n'
              : script.content(contents.at(-1) ?? '', connection)
          if (reply === null) return void socket.destroy()
          socket.write(reply)
          continue
        }
        const end = text.indexOf('\r\n')
        if (end === -1) return
        const command = text.slice(0, end)
        text = text.slice(end + 2)
        commands.push(command)
        const reply = replyTo(command, connection, socket, accepted)
        if (reply === null) return void socket.destroy()
        if (/^(MAIL|RSET)/.test(command)) accepted = 0
        if (/^RCPT/.test(command) && reply.startsWith('250')) accepted++
        if (reply.startsWith('354')) inContent = true
        if (command === 'STARTTLS' && reply.startsWith('220') && script.tls !== undefined) {
          socket.write(reply + (script.injected ?? ''))
          socket.removeAllListeners('data')
          const secureContext = createSecureContext(script.tls)
          const secure = new TLSSocket(socket, { isServer: true, secureContext })
          secure.on('error', () => secure.destroy())
          serve(secure, connection)
          return
        }
        socket.write(reply)
        if (command === 'QUIT') socket.end()
      }
    })
  }

  function replyTo(command: string, connection: number, socket: Socket, accepted: number): string | null {
    const scripted = script.answer?.(command, connection, socket)
    if (scripted !== undefined) return scripted
    if (/^EHLO/.test(command)) {
      const lines = [
        'hop.example',
        ...(script.ehlo ?? ['PIPELINING', 'SIZE 50000000', '8BITMIME', 'ENHANCEDSTATUSCODES']),
      ]
      return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}\r\n`).join('')
    }
    if (command === 'DATA') return accepted > 0 ? '354 go on\r\n' : '554 5.5.1 no valid recipients\r\n'
    if (command === 'STARTTLS') return '220 2.0.0 ready\r\n'
    if (command === 'QUIT') return '221 2.0.0 bye\r\n'
    return '250 2.1.0 ok\r\n'
  }

  server.listen(script.at?.port ?? 0, script.at?.address ?? '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    commands,
    reads,
    contents,
    connections: () => count,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
