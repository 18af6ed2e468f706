import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** Other mail servers of Debian, run without being installed: see neighbours.sh. Needs root. */
export type Neighbours = {
  /** Takes mail at this port of 127.0.0.1 and keeps it, or hands all of it on to another port. */
  exim(port: number, onward?: number): Promise<void>
  opensmtpd(port: number, onward?: number): Promise<void>
  /** Lets anna sign in, and hands on what she submits. */
  dovecot(port: number, onward: number): Promise<void>
  /** Sends one mail with msmtp; what msmtp said, and its exit status. */
  msmtp(args: readonly string[], mail: string): Promise<{ readonly status: number | null; readonly said: string }>
  /** Asks exim something that it answers at once: its exit status, and what it wrote. */
  askExim(...args: readonly string[]): { readonly status: number | null; readonly stdout: string }
  /** The mails kept by exim and opensmtpd, with CRLF. */
  kept(): Buffer[]
  /** What the programs wrote. */
  said(): string
  stop(): Promise<void>
}

export const PASSWORD = 'a-long-password'
const script = fileURLToPath(new URL('neighbours.sh', import.meta.url))

/** Downloads and unpacks them; the reason where that cannot be done here. */
export function fetchNeighbours(): Neighbours | string {
  if (process.getuid?.() !== 0) return 'other mail servers can only be run by root: skipped'
  const root = mkdtempSync(join(tmpdir(), 'sealpost-neighbours-'))
  chmodSync(root, 0o755)
  const fetched = spawnSync(script, ['fetch', root], { encoding: 'utf8', timeout: 120_000 })
  if (fetched.status === 0) return openNeighbours(root)
  rmSync(root, { recursive: true, force: true })
  return `other mail servers cannot be had here (${fetched.stderr.trim().slice(-200)}): skipped`
}

function openNeighbours(root: string): Neighbours {
  const running: ChildProcess[] = []
  const places: string[] = []
  let said = ''

  function folder(): string {
    const made = join(root, `place${places.length}`)
    places.push(made)
    for (const name of [made, ...['spool', 'home', 'mail'].map((name) => join(made, name))]) {
      mkdirSync(name, { recursive: true })
      chmodSync(name, 0o777)
    }
    return made
  }
  async function start(port: number, file: string, text: string, command: (file: string) => string[]): Promise<void> {
    writeFileSync(file, text)
    const child = spawn(script, ['run', root, ...command(file)], { stdio: ['ignore', 'pipe', 'pipe'] })
    running.push(child)
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()))
    for (let i = 0; i < 100; i++) {
      if (await greets(port)) return
      if (child.exitCode !== null) break
      await sleep(100)
    }
    throw new Error(`${command(file)[0]} did not start: ${said.slice(-500)}`)
  }

  return {
    async exim(port, onward) {
      const at = folder()
      await start(port, join(at, 'conf'), eximOf(at, port, onward), (file) => ['exim4', '-C', file, '-bdf', '-q5s'])
    },
    async opensmtpd(port, onward) {
      const at = folder()
      await start(port, join(at, 'conf'), opensmtpdOf(at, port, onward), (file) => ['smtpd', '-d', '-f', file])
    },
    async dovecot(port, onward) {
      const at = folder()
      await start(port, join(at, 'conf'), dovecotOf(at, port, onward), (file) => ['dovecot', '-F', '-c', file])
    },
    async msmtp(args, text) {
      const child = spawn(script, ['run', root, 'msmtp', '--host=127.0.0.1', ...args])
      let words = ''
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (piece: Buffer) => (words += piece.toString()))
      child.stdin.end(text)
      const [status] = (await once(child, 'close')) as [number | null]
      return { status, said: words }
    },
    askExim: (...args) => spawnSync(script, ['run', root, 'exim4', ...args], { encoding: 'utf8' }),
    kept() {
      const files = places.flatMap((place) => filesIn(join(place, 'mail', 'new')))
      return files.map((text) => Buffer.from(text.replace(/\r?\n/g, '\r\n'), 'latin1'))
    },
    said: () => said,
    async stop() {
      for (const child of running) {
        child.kill('SIGTERM')
        const hard = setTimeout(() => child.kill('SIGKILL'), 5_000)
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
        clearTimeout(hard)
      }
      rmSync(root, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

function filesIn(folder: string): string[] {
  const names = existsSync(folder) ? readdirSync(folder) : []
  return names.map((name) => readFileSync(join(folder, name), 'latin1'))
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'data', { signal: AbortSignal.timeout(2_000) })
    return true
  } catch {
    return false // not yet
  } finally {
    socket.destroy()
  }
}

function eximOf(at: string, port: number, onward: number | undefined): string {
  const router =
    onward === undefined
      ? ['driver = accept', 'transport = mailbox']
      : ['driver = manualroute', 'transport = onward', `route_list = * 127.0.0.1::${onward} byname`, 'self = send']
  return [
    ...['primary_hostname = exim.example', 'local_interfaces = 127.0.0.1', `daemon_smtp_ports = ${port}`],
    ...[`spool_directory = ${at}/spool`, `log_file_path = ${at}/%slog`, `pid_file_path = ${at}/pid`],
    ...['acl_smtp_rcpt = all', 'tls_advertise_hosts =', 'host_lookup =', 'begin acl', 'all:', 'accept'],
    ...['begin routers', 'one:', ...router],
    ...['begin transports', 'onward:', 'driver = smtp', 'allow_localhost', 'hosts_avoid_tls = *'],
    ...['mailbox:', 'driver = appendfile', 'maildir_format', 'create_directory', 'user = Debian-exim'],
    ...[`directory = ${at}/mail`, 'begin retry', '* * F,1h,1s', ''],
  ].join('\n')
}

function opensmtpdOf(at: string, port: number, onward: number | undefined): string {
  const action =
    onward === undefined ? `maildir "${at}/mail" virtual <people>` : `relay host "smtp://127.0.0.1:${onward}"`
  return [
    `listen on 127.0.0.1 port ${port}`,
    'table people { "@" = "vmail" }',
    `action "one" ${action}`,
    'match from any for any action "one"',
    '',
  ].join('\n')
}

function dovecotOf(at: string, port: number, onward: number): string {
  return [
    ...['base_dir = /run/dovecot', 'state_dir = /run/dovecot-state', `log_path = ${at}/log`],
    ...['protocols = submission', 'listen = 127.0.0.1', 'ssl = no', 'disable_plaintext_auth = no'],
    ...['hostname = dovecot.example', 'submission_relay_host = 127.0.0.1', `submission_relay_port = ${onward}`],
    ...[`mail_location = maildir:${at}/home/mail`, 'service submission-login {', 'inet_listener submission {'],
    ...[`port = ${port}`, '}', '}', 'passdb {', 'driver = static', `args = password=${PASSWORD}`, '}'],
    ...['userdb {', 'driver = static', `args = uid=vmail gid=vmail home=${at}/home`, '}', ''],
  ].join('\n')
}
