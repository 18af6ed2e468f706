import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { FlakyProvider, Kept } from '../scenarios/flaky-provider.ts'
import { startPostfix } from '../scenarios/postfix.ts'
import type { Chance } from './chance.ts'
import { GONE } from './unkind.ts'

/** Of the answers to a dot: so many are cut off, so many come late. */
const CUT = 0.03
const LATE = 0.05

/** Postfix as provider, behind a wire that cuts and stalls. Killing it kills Postfix's own processes and every connection. */
export type PostfixBehindWire = FlakyProvider & {
  /** Mails that Postfix still has to deliver. */
  waiting(): number
  stop(): Promise<void>
}

type Answer = { readonly at: number; readonly passed: boolean }

export async function startPostfixBehindWire(chance: Chance): Promise<PostfixBehindWire> {
  const postfix = await startPostfix({
    refuse: { [GONE]: '550 5.1.1 no such user', 'busy@example.org': '450 4.2.1 try later' },
    extra: {
      virtual_mailbox_domains: 'example.org example.net acme.example',
      ...{ minimal_backoff_time: '1s', maximal_backoff_time: '2s', queue_run_delay: '1s', service_throttle_time: '1s' },
    },
  })
  /** By queue id: when the answer that names it came by, and whether it was let through. */
  const answers = new Map<string, Answer>()
  const files = new Map<string, File>()
  const seen: Buffer[] = []
  const sockets = new Set<Socket>()
  let server: Server | null = null
  let port = 0

  function answer(octets: Buffer, client: Socket): void {
    const [, id] = /^250 .*queued as (\w+)/m.exec(octets.toString('latin1')) ?? []
    if (id === undefined) {
      client.write(octets)
      return
    }
    const luck = chance()
    const passed = luck >= CUT && !client.destroyed
    const at = Date.now()
    answers.set(id, { at, passed })
    if (luck < CUT) client.destroy()
    else if (luck > 1 - LATE) {
      // Let through only if the wire still stands by then.
      answers.set(id, { at, passed: false })
      setTimeout(() => {
        if (client.destroyed) return
        answers.set(id, { at: Date.now(), passed: true })
        client.write(octets)
      }, chance() * 3_000)
    } else client.write(octets)
  }

  async function listen(): Promise<void> {
    server = createServer({ noDelay: true }, (client) => {
      const next = connect({ host: '127.0.0.1', port: postfix.port, noDelay: true })
      for (const [one, other] of [
        [client, next],
        [next, client],
      ] as const) {
        sockets.add(one)
        one.on('error', () => one.destroy())
        one.on('close', () => {
          sockets.delete(one)
          other.destroy()
        })
      }
      client.on('data', (octets) => {
        seen.push(Buffer.from(octets))
        next.write(octets)
      })
      next.on('data', (octets) => answer(Buffer.from(octets), client))
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address !== null && typeof address === 'object') port = address.port
  }

  async function cut(): Promise<void> {
    const closing = server
    server = null
    for (const socket of sockets) socket.destroy()
    if (closing !== null) await once(closing.close(), 'close')
  }

  await listen()
  return {
    port,
    seen,
    get kept() {
      for (const path of postfix.files()) if (!files.has(path)) files.set(path, read(path))
      return keptOf(files.values(), answers)
    },
    play: () => undefined,
    async kill() {
      killWorkers(postfix.pid())
      await cut()
    },
    start: async () => {
      if (server === null) await listen()
    },
    waiting: () => postfix.waiting(),
    async stop() {
      await cut()
      await postfix.stop()
    },
  }
}

/** A file that Postfix delivered. */
type File = {
  readonly queueId: string
  readonly recipient: string
  readonly sender: string
  readonly octets: Buffer
  readonly at: number
}

function read(path: string): File {
  const octets = readFileSync(path)
  const head = octets.subarray(0, 4_096).toString('latin1')
  const received = /^Received: from .*?\n(?:[ \t].*\n)*/m.exec(head)?.[0] ?? ''
  return {
    queueId: /\bid (\w+)/.exec(received.slice(received.indexOf('by mx.example.org')))?.[1] ?? path,
    recipient: /^X-Original-To: (.*)$/m.exec(head)?.[1]?.trim() ?? '',
    sender: /^Return-Path: <(.*)>$/m.exec(head)?.[1]?.trim() ?? '',
    octets,
    at: statSync(path).mtimeMs,
  }
}

/** One for each mail and recipient: a second file of one queue id is Postfix's own doing, killed while it delivered. */
function keptOf(files: Iterable<File>, answers: ReadonlyMap<string, Answer>): Kept[] {
  const kept = new Map<string, Kept>()
  for (const { queueId, recipient, sender, octets, at } of files) {
    const answer = answers.get(queueId)
    const answered = answer?.passed ?? false
    kept.set(`${queueId} ${recipient}`, { sender, recipients: [recipient], octets, at: answer?.at ?? at, answered })
  }
  return [...kept.values()].sort((a, b) => a.at - b.at)
}

/** Not its log, nor what only waits for work. */
const MORTAL = new Set(['smtpd', 'cleanup', 'qmgr', 'virtual'])

/** Kills those that a master started and that handle mail; the master starts others. */
function killWorkers(master: number): void {
  const children = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8')
  for (const pid of children.split(' ').filter(Boolean)) {
    try {
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
      if (MORTAL.has(name)) process.kill(Number(pid), 'SIGKILL')
    } catch (cause) {
      // It ended by itself meanwhile.
      const code = cause instanceof Error && 'code' in cause ? cause.code : null
      if (code !== 'ENOENT' && code !== 'ESRCH') throw cause
    }
  }
}
