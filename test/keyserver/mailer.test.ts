import type { AddressInfo } from 'node:net'
import { createServer, type Server, type Socket } from 'node:net'
import t from 'tap'
import type { SystemMessage } from '../../keyserver/code-mail.ts'
import { createMailer, type MailResult } from '../../keyserver/mailer.ts'
import { address } from './house.ts'

const message: SystemMessage = {
  from: address('codes@acme.example'),
  to: address('bea@example.org'),
  subject: 'Your code',
  text: '12345678\n',
  messageId: '<1@acme.example>',
  headers: { 'Auto-Submitted': 'auto-generated' },
}

/** A provider that answers MAIL FROM with the next of these replies, then takes everything. */
async function provider(t: { teardown(act: () => void): unknown }, replies: string[] = [], mute = false) {
  const taken: string[] = []
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    if (mute) return
    let data: string | null = null
    socket.write('220 provider ESMTP\r\n')
    socket.setEncoding('latin1').on('data', (text: string) => {
      for (const line of text.split('\r\n').slice(0, -1)) {
        if (data !== null) {
          if (line !== '.') data += `${line}\n`
          else {
            taken.push(data)
            data = null
            socket.write('250 taken\r\n')
          }
        } else if (/^EHLO/.test(line)) socket.write('250 provider\r\n')
        else if (/^MAIL/.test(line)) socket.write(`${replies.shift() ?? '250 ok'}\r\n`)
        else if (/^DATA/.test(line)) {
          data = ''
          socket.write('354 go on\r\n')
        } else socket.write('250 ok\r\n')
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, taken }
}

type Results = { readonly result: MailResult; readonly cause: string }[]

function mailerTo(port: number, capacity = 1000) {
  const results: Results = []
  const mailer = createMailer({
    route: { host: '127.0.0.1', port, security: 'none', ca: null, user: null, password: null },
    name: 'open.acme.example',
    now: () => performance.now(),
    onResult: (result, cause) => results.push({ result, cause }),
    capacity,
    pauses: [20, 20],
  })
  return { mailer, results }
}

async function until(done: () => boolean) {
  const end = performance.now() + 5_000
  while (!done() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 5))
}

const soon = () => performance.now() + 60_000

t.test('a temporary refusal is tried again, and the mail comes once', async (t) => {
  const { port, taken } = await provider(t, ['451 later', '421 later'])
  const { mailer, results } = mailerTo(port)
  mailer.enqueue(message, soon())
  await until(() => results.length > 0)
  t.match(results, [{ result: 'sent' }])
  t.equal(taken.length, 1)
  t.match(taken[0], /^Auto-Submitted: auto-generated$/m)
  await mailer.close()
})

t.test('a refusal for good is not tried again, and its cause names no address', async (t) => {
  const { port, taken } = await provider(t, ['550 5.1.1 <bea@example.org> unknown'])
  const { mailer, results } = mailerTo(port)
  mailer.enqueue(message, soon())
  await until(() => results.length > 0)
  t.same(results, [{ result: 'failed', cause: 'EENVELOPE 550' }])
  t.equal(taken.length, 0)
  await mailer.close()
})

t.test('what no pause brings through, or what comes past its time, is dropped as late', async (t) => {
  const { port } = await provider(
    t,
    Array.from({ length: 9 }, () => '451 later'),
  )
  const { mailer, results } = mailerTo(port)
  mailer.enqueue(message, soon())
  mailer.enqueue(message, performance.now() - 1)
  await until(() => results.length > 1)
  t.match(results, [{ result: 'late' }, { result: 'late' }])
  await mailer.close()
})

t.test('the queue is bounded, and closing does not wait for a provider that says nothing', async (t) => {
  const { port } = await provider(t, [], true)
  const { mailer, results } = mailerTo(port, 6)
  for (let i = 0; i < 10; i++) mailer.enqueue(message, soon())
  t.equal(results.filter(({ result }) => result === 'full').length, 4)
  t.equal(mailer.waiting(), 6)
  const start = performance.now()
  await mailer.close()
  t.ok(performance.now() - start < 5_000)
  mailer.enqueue(message, soon())
  t.equal(results.at(-1)?.result, 'full')
})
