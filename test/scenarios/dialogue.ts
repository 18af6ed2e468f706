import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** An SMTP client that says exactly what a test wants said, octet for octet. */
export type Dialogue = {
  readonly socket: Socket
  readonly banner: string
  /** One command; its whole reply, lines joined by `\n`. */
  say(command: string | Uint8Array): Promise<string>
  /** MAIL, RCPT, DATA and the content, until something is refused; the last reply. */
  send(mail: RawMail): Promise<string>
  /** After DATA was accepted: these octets, dots stuffed, and the dot line. */
  content(octets: Uint8Array): Promise<string>
  /** Octets as they are, without waiting. */
  write(octets: string | Uint8Array): void
  /** The next reply. Rejects if the connection ends first. */
  reply(): Promise<string>
  quit(): Promise<void>
}

export type RawMail = {
  readonly from: string
  readonly to: readonly string[]
  readonly octets: Uint8Array
  /** Parameters of MAIL, such as ` SMTPUTF8`. */
  readonly parameters?: string
}

/** Connects to a port of 127.0.0.1, reads the banner and says EHLO. */
export async function openDialogue(port: number): Promise<Dialogue> {
  const socket = connect(port, '127.0.0.1')
  socket.setNoDelay(true)
  const lines: string[] = []
  let rest = ''
  let ended = false
  let wake: () => void = () => undefined
  socket.on('data', (octets: Buffer) => {
    const pieces = (rest + octets.toString('utf8')).split('\r\n')
    rest = pieces.pop() ?? ''
    lines.push(...pieces)
    wake()
  })
  const end = () => {
    ended = true
    wake()
  }
  // A connection that is cut is what some tests are about; whoever waits for a reply hears of it.
  socket.on('error', end)
  socket.on('close', end)

  async function reply(): Promise<string> {
    for (;;) {
      const last = lines.findIndex((line) => /^\d{3}(?: |$)/.test(line))
      if (last !== -1) return lines.splice(0, last + 1).join('\n')
      if (ended) throw new Error('the connection ended without a reply')
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  const say = (command: string | Uint8Array) => {
    socket.write(typeof command === 'string' ? `${command}\r\n` : command)
    return reply()
  }
  const content = (octets: Uint8Array) => {
    socket.write(stuffed(octets))
    return reply()
  }
  async function send({ from, to, octets, parameters = '' }: RawMail): Promise<string> {
    const commands = [`MAIL FROM:<${from}>${parameters}`, ...to.map((one) => `RCPT TO:<${one}>`), 'DATA']
    for (const command of commands) {
      const answer = await say(command)
      if (/^[45]/.test(answer)) {
        await say('RSET')
        return answer
      }
    }
    return content(octets)
  }
  const banner = await reply()
  await say('EHLO client.acme.example')
  return {
    socket,
    banner,
    say,
    send,
    content,
    write: (octets) => void socket.write(octets),
    reply,
    async quit() {
      if (!ended) socket.end('QUIT\r\n')
      if (!socket.closed) await once(socket, 'close')
    },
  }
}

/** RFC 5321 4.5.2. Only what follows CRLF begins a line. */
function stuffed(octets: Uint8Array): Buffer {
  const text = `\r\n${Buffer.from(octets).toString('latin1')}`.replaceAll('\r\n.', '\r\n..').slice(2)
  return Buffer.from(`${text}${text.endsWith('\r\n') || text === '' ? '' : '\r\n'}.\r\n`, 'latin1')
}

/** One message sent on a connection of its own; the reply that decided. */
export async function sendOnce(port: number, mail: RawMail): Promise<string> {
  const dialogue = await openDialogue(port)
  const answer = await dialogue.send(mail)
  await dialogue.quit()
  return answer
}
