import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

/** A raw SMTP client: what it sends is what the test says, octet for octet. */
export type Dialogue = {
  /** Sends as it stands, in Latin-1; no line end is added. */
  write(text: string): void
  /** The next whole reply, its lines joined by `\n`; '' once the connection is closed. */
  reply(): Promise<string>
  /** A command line, and its reply. */
  say(line: string): Promise<string>
  /** EHLO, MAIL, RCPT and DATA, each of which must succeed. */
  upToData(from: string, ...to: readonly string[]): Promise<void>
  /** Goes on in TLS, whoever the other side is; with a certificate (PEM) if given one. Gives the common name of the server's. */
  startTls(own?: { readonly cert: string; readonly key: string }): Promise<string>
  destroy(): void
}

export async function openDialogue(port: number): Promise<Dialogue> {
  let socket: Socket = connect(port, '127.0.0.1')
  let text = ''
  let ended = false
  let wake: () => void = () => undefined
  const listen = () => {
    socket.on('data', (octets: Buffer) => {
      text += octets.toString('latin1')
      wake()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      ended = true
      wake()
    })
  }
  listen()
  await once(socket, 'connect')

  async function reply(): Promise<string> {
    for (;;) {
      const found = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(text)
      if (found !== null) {
        text = text.slice(found[0].length)
        return found[0].trimEnd().replaceAll('\r\n', '\n')
      }
      if (ended) return ''
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  const say = (line: string) => {
    socket.write(`${line}\r\n`, 'latin1')
    return reply()
  }
  return {
    write: (piece) => void socket.write(piece, 'latin1'),
    reply,
    say,
    async upToData(from, ...to) {
      const said = [await say('EHLO client.example'), await say(`MAIL FROM:<${from}>`)]
      for (const recipient of to) said.push(await say(`RCPT TO:<${recipient}>`))
      said.push(await say('DATA'))
      const bad = said.find((line) => !/^[23]/.test(line))
      if (bad !== undefined) throw new Error(`the server said ${bad}`)
    },
    async startTls(own) {
      socket.removeAllListeners()
      const secure = connectTls({ socket, rejectUnauthorized: false, ...own })
      await once(secure, 'secureConnect')
      socket = secure
      listen()
      return String(secure.getPeerCertificate().subject.CN)
    },
    destroy: () => void socket.destroy(),
  }
}
