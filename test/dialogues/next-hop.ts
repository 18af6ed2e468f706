import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { octetsOf, type Rule } from './dialogue-file.ts'

/** A next hop that keeps to SMTP, except where the rules in force say otherwise. */
export type NextHop = {
  readonly port: number
  /** From here on; each rule is used up in turn, the last for the same words stays. Kept connections are ended. */
  follow(rules: readonly Rule[]): void
  /** Contents taken with 250, by recipients and octets, dots un-stuffed. */
  readonly mails: { readonly recipients: readonly string[]; readonly octets: string }[]
  /** Command lines heard. */
  readonly heard: string[]
  close(): Promise<void>
}

const usual: Readonly<Record<string, string>> = {
  banner: '220 hop.example ESMTP',
  EHLO: '250-hop.example\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES',
  DATA: '354 go on',
  QUIT: '221 2.0.0 bye',
  dot: '250 2.0.0 queued',
}

export async function startNextHop(): Promise<NextHop> {
  const sockets = new Set<Socket>()
  const mails: NextHop['mails'] = []
  const heard: string[] = []
  let rules: Rule[] = []

  function answerTo(said: string): readonly string[] {
    const index = rules.findIndex((rule) => said.startsWith(rule.hears))
    const rule = rules[index]
    if (rule === undefined) return [usual[said.slice(0, 4)] ?? usual[said] ?? '250 2.1.0 ok']
    if (rules.some((other, at) => at > index && other.hears === rule.hears)) rules = rules.toSpliced(index, 1)
    return rule.pieces
  }

  /** What was said, for the state of the conversation. Pieces: text, then how it goes on, and so forth. */
  async function say(socket: Socket, pieces: readonly string[]): Promise<string> {
    let said = ''
    let ended = true
    for (const [index, piece] of pieces.entries()) {
      if (index % 2 === 0) {
        const text = octetsOf(piece)
        said += text
        if (text !== '') socket.write(text, 'latin1')
      } else if (piece === 'close') socket.destroy()
      else if (piece === 'silence') ended = false
      else await sleep(Number.parseInt(piece, 10))
    }
    // A text that ends with its own line end, or a way to go on, is as it stands.
    if (ended && !said.endsWith('\n') && !socket.destroyed) socket.write('\r\n')
    return said
  }

  async function converse(socket: Socket): Promise<void> {
    await say(socket, answerTo('banner'))
    let text = ''
    let recipients: string[] = []
    let inContent = false
    for await (const octets of socket) {
      text += (octets as Buffer).toString('latin1')
      for (;;) {
        const end = inContent ? `\r\n${text}`.indexOf('\r\n.\r\n') : text.indexOf('\r\n')
        if (end === -1) break
        if (inContent) {
          const content = text.slice(0, end)
          text = text.slice(end + 3)
          inContent = false
          if ((await say(socket, answerTo('dot'))).startsWith('250'))
            mails.push({ recipients, octets: content.replace(/(^|\r\n)\.\./g, '$1.') })
          continue
        }
        const command = text.slice(0, end)
        text = text.slice(end + 2)
        heard.push(command)
        const reply = await say(socket, answerTo(command))
        if (/^(?:MAIL|RSET)/.test(command)) recipients = []
        if (command.startsWith('RCPT') && reply.startsWith('2')) recipients.push(command.slice(9, command.indexOf('>')))
        if (command === 'DATA' && reply.startsWith('354')) inContent = true
        if (command === 'QUIT') socket.end()
      }
    }
  }

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // A gateway that hangs up is what some dialogues are about.
    converse(socket).catch(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    mails,
    heard,
    follow(given) {
      rules = [...given]
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
