import { connect, type Socket } from 'node:net'
import type { BenchMail } from './mail.ts'

/** One SMTP connection of a client, read reply by reply. Every call rejects once the server has closed it. */
export type SmtpLine = {
  /** Sends one mail to bob@example.org; the server's answer to the dot, or its first refusal before. */
  send(mail: BenchMail, id: string): Promise<string>
  close(): void
}

/** Opens a connection and greets. */
export async function openLine(port: number): Promise<SmtpLine> {
  const socket = connect(port, '127.0.0.1')
  const replies = readReplies(socket)
  await replies()
  socket.write('EHLO source.acme.example\r\n')
  await replies()
  return {
    async send(mail, id) {
      socket.write('MAIL FROM:<anna@acme.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n')
      const answers = [await replies(), await replies(), await replies()]
      const refusal = answers.find((reply) => !/^[23]/.test(reply))
      if (refusal !== undefined) return refusal
      socket.cork()
      for (const part of [mail.before, id, mail.after, '.\r\n']) socket.write(part)
      socket.uncork()
      return replies()
    },
    close: () => void socket.end('QUIT\r\n'),
  }
}

/** Each call gives the next reply, whole. */
function readReplies(socket: Socket): () => Promise<string> {
  let text = ''
  let ended: Error | null = null
  let waiting: { resolve: (reply: string) => void; reject: (error: Error) => void } | null = null

  function settle(): void {
    if (waiting === null) return
    const reply = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(text)?.[0]
    if (reply === undefined && ended === null) return
    const { resolve, reject } = waiting
    waiting = null
    text = text.slice(reply?.length ?? 0)
    if (reply === undefined) reject(ended ?? new Error('no reply'))
    else resolve(reply)
  }
  function end(error: Error): void {
    ended ??= error
    settle()
  }
  socket.setNoDelay(true)
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
    settle()
  })
  socket.on('error', end)
  socket.on('close', () => end(new Error('the server closed the connection')))
  return () =>
    new Promise((resolve, reject) => {
      waiting = { resolve, reject }
      settle()
    })
}
