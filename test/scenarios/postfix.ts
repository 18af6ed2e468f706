import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Debian's Postfix as provider, with configuration, queue and data of its own in a folder that goes when it ends. Needs root, as Postfix does.
 * What it delivers lies as files in a Maildir; `extra` may give it a next hop instead (`default_transport`, `transport_maps`).
 */
export type Postfix = {
  readonly port: number
  /** Its log so far. */
  log(): string
  /** Of its master. */
  pid(): number
  /** Whole mails in its queues: one that its cleanup was killed over was answered to nobody, and stays without the mode of a whole one. */
  waiting(): number
  /** The files of the mails delivered so far. */
  files(): string[]
  /** The mails delivered so far, to whomever. */
  delivered(): Buffer[]
  /** Waits until `count` mails are delivered; throws after 20 s. */
  waitFor(count: number): Promise<Buffer[]>
  stop(): Promise<void>
}

export type PostfixOptions = {
  /** PEM; without it there is no STARTTLS. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Recipient to reply: `550 5.1.1 no such user`. */
  readonly refuse?: Readonly<Record<string, string>>
  /** More lines of main.cf. */
  readonly extra?: Readonly<Record<string, string>>
  /** More lines of master.cf. */
  readonly services?: readonly string[]
  /** Instead of delivering, everything is thrown away: for measuring. */
  readonly discard?: boolean
}

const DOMAIN = 'example.org'

/** Why Postfix cannot be started here, or false. */
export function postfixAbsent(): string | false {
  if (!existsSync('/usr/sbin/postfix')) return 'Postfix is absent: skipped'
  return process.getuid?.() === 0 ? false : 'Postfix can only be started by root: skipped'
}

/** Starts it and waits until it greets. It takes all mail for `example.org`. */
export async function startPostfix(options: PostfixOptions = {}): Promise<Postfix> {
  const root = mkdtempSync(join(tmpdir(), 'sealpost-postfix-'))
  chmodSync(root, 0o755)
  const [etc, spool, data, mail] = ['etc', 'spool', 'data', 'mail'].map((name) => join(root, name)) as [
    string,
    string,
    string,
    string,
  ]
  for (const folder of [etc, spool, data, mail]) mkdirSync(folder, { mode: 0o755 })
  const port = await freePort()
  writeConfiguration(etc, { spool, data, mail, port }, options)
  const chown = (folder: string) => execFileSync('chown', ['postfix', folder])
  chown(data)
  chown(mail)
  run(etc, 'start')
  try {
    await greeting(port)
  } catch (error) {
    run(etc, 'stop')
    throw new Error(`Postfix did not start: ${readLog(root)}`, { cause: error })
  }
  const delivered = () => readMaildir(mail)
  return {
    port,
    log: () => readLog(root),
    pid: () => Number(readFileSync(join(spool, 'pid', 'master.pid'), 'utf8').trim()),
    waiting: () =>
      ['maildrop', 'incoming', 'active', 'deferred'].flatMap((name) => filesIn(join(spool, name))).filter(isWhole)
        .length,
    files: () => maildirFiles(mail),
    delivered,
    async waitFor(count) {
      for (let i = 0; i < 200; i++) {
        const mails = delivered()
        if (mails.length >= count) return mails
        await sleep(100)
      }
      throw new Error(`${delivered().length} of ${count} mails came: ${readLog(root)}`)
    },
    async stop() {
      run(etc, 'stop')
      // The master waits for its children; they hold the folder.
      for (let i = 0; i < 50 && spawnSync('/usr/sbin/postfix', ['-c', etc, 'status']).status === 0; i++)
        await sleep(100)
      rmSync(root, { recursive: true, force: true })
    },
  }
}

type Places = { readonly spool: string; readonly data: string; readonly mail: string; readonly port: number }

function writeConfiguration(etc: string, places: Places, options: PostfixOptions): void {
  const uid = execFileSync('id', ['-u', 'postfix'], { encoding: 'utf8' }).trim()
  const gid = execFileSync('id', ['-g', 'postfix'], { encoding: 'utf8' }).trim()
  const main: Record<string, string> = {
    compatibility_level: '3.6',
    queue_directory: places.spool,
    data_directory: places.data,
    myhostname: 'mx.example.org',
    mydestination: '',
    mynetworks: '127.0.0.0/8',
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    maillog_file: join(etc, '..', 'log'),
    maillog_file_prefixes: join(etc, '..'),
    alias_maps: '',
    virtual_mailbox_domains: DOMAIN,
    virtual_mailbox_base: places.mail,
    virtual_mailbox_maps: `static:all/`,
    virtual_minimum_uid: '1',
    virtual_uid_maps: `static:${uid}`,
    virtual_gid_maps: `static:${gid}`,
    virtual_transport: options.discard === true ? 'discard:' : 'virtual',
    default_transport: options.discard === true ? 'discard:' : 'error:no mail leaves here',
    message_size_limit: '60000000',
    virtual_mailbox_limit: '0',
    smtpd_client_connection_count_limit: '0',
    smtpd_recipient_restrictions: `check_recipient_access inline:{${refusals(options.refuse ?? {})}}, permit_mynetworks, reject`,
    smtputf8_enable: 'yes',
    ...options.extra,
  }
  if (options.tls !== undefined) {
    writeFileSync(join(etc, 'key.pem'), options.tls.key, { mode: 0o600 })
    writeFileSync(join(etc, 'cert.pem'), options.tls.cert)
    Object.assign(main, {
      smtpd_tls_security_level: 'may',
      smtpd_tls_key_file: join(etc, 'key.pem'),
      smtpd_tls_cert_file: join(etc, 'cert.pem'),
      ...options.extra,
    })
  }
  writeFileSync(
    join(etc, 'main.cf'),
    `${Object.entries(main)
      .map(([name, value]) => `${name} = ${value}`)
      .join('\n')}\n`,
  )
  writeFileSync(join(etc, 'master.cf'), masterOf(places.port, options.services ?? []))
}

function refusals(refuse: Readonly<Record<string, string>>): string {
  const entries = Object.entries(refuse).map(([address, reply]) => `{${address} = ${reply}}`)
  return entries.length === 0 ? '{none@invalid = OK}' : entries.join(', ')
}

/** No service in a chroot, and only those that are needed. */
function masterOf(port: number, more: readonly string[]): string {
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    'pickup unix n - n 60 1 pickup',
    'cleanup unix n - n - 0 cleanup',
    'qmgr unix n - n 300 1 qmgr',
    'rewrite unix - - n - - trivial-rewrite',
    'bounce unix - - n - 0 bounce',
    'defer unix - - n - 0 bounce',
    'error unix - - n - - error',
    'discard unix - - n - - discard',
    'virtual unix - n n - - virtual',
    'smtp unix - - n - - smtp',
    'tlsmgr unix - - n 1000? 1 tlsmgr',
    'anvil unix - - n - 1 anvil',
    'proxymap unix - - n - - proxymap',
    'flush unix n - n 1000? 0 flush',
    'showq unix n - n - - showq',
    'postlog unix-dgram n - n - 1 postlogd',
    ...more,
  ]
  return `${services.join('\n')}\n`
}

function run(etc: string, command: 'start' | 'stop'): void {
  const { status, stderr } = spawnSync('/usr/sbin/postfix', ['-c', etc, command], { encoding: 'utf8' })
  if (status !== 0 && command === 'start') throw new Error(`postfix start: ${stderr}`)
}

function readLog(root: string): string {
  const path = join(root, 'log')
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function readMaildir(mail: string): Buffer[] {
  return maildirFiles(mail).map((path) => readFileSync(path))
}

function maildirFiles(mail: string): string[] {
  return filesIn(join(mail, 'all', 'new'))
}

/** All files under a folder that may not be there; what goes while it is looked at is left out. */
function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false)
}

function isWhole(file: string): boolean {
  return ((statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o100) !== 0
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function greeting(port: number): Promise<void> {
  for (let i = 0; ; i++) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'data', { signal: AbortSignal.timeout(2_000) })
      return
    } catch (error) {
      if (i === 40) throw error
      await sleep(100)
    } finally {
      socket.destroy()
    }
  }
}
