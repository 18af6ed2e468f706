import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from './child.ts'

/** Debian's Postfix as a relay on loopback: the yardstick. It stores each mail, fsynced, before it answers, and hands it on afterwards. */
export type Postfix = {
  readonly port: number
  readonly version: string
  /** Of the master, whose children do the work. */
  readonly pid: number
  stop(): Promise<void>
}

const PROGRAM = '/usr/sbin/postfix'

/** Why there can be no Postfix here, or null. */
export function noPostfix(): string | null {
  if (!existsSync(PROGRAM)) return 'Postfix is not installed: nothing to compare with (apt-get install postfix)'
  return process.getuid?.() === 0 ? null : 'Postfix must be started by root: nothing to compare with'
}

/** An instance of its own in `folder`, with the settings that it is shipped with but for names, ports and sizes. Touches nothing of the system's own. */
export async function startPostfix(folder: string, port: number, sinkPort: number): Promise<Postfix> {
  const config = join(folder, 'etc')
  for (const name of ['etc', 'spool', 'data']) await mkdir(join(folder, name), { recursive: true, mode: 0o755 })
  await run('chown', ['postfix', join(folder, 'data')])
  await writeFile(join(config, 'main.cf'), settings(folder, sinkPort))
  await copyFile('/etc/postfix/master.cf', join(config, 'master.cf'))
  await run('postconf', ['-c', config, '-F', '*/*/chroot=n'])
  await run('postconf', ['-c', config, '-MX', 'smtp/inet'])
  await run('postconf', ['-c', config, '-M', `127.0.0.1:${port}/inet=127.0.0.1:${port} inet n - n - - smtpd`])
  await run('postfix', ['-c', config, 'start'])
  const stop = async () => {
    await run('postfix', ['-c', config, 'stop'])
  }
  for (let waited = 0; !(await listens(port)); waited += 50) {
    if (waited > 10_000) {
      await stop()
      throw new Error(`Postfix did not listen on port ${port}: ${await readFile(join(folder, 'mail.log'), 'utf8')}`)
    }
    await sleep(50)
  }
  const version = (await run('postconf', ['-h', 'mail_version'])).trim()
  const pid = Number(await readFile(join(folder, 'spool', 'pid', 'master.pid'), 'utf8'))
  return { port, version, pid, stop }
}

function settings(folder: string, sinkPort: number): string {
  return [
    'compatibility_level = 3.6',
    `queue_directory = ${join(folder, 'spool')}`,
    `data_directory = ${join(folder, 'data')}`,
    `maillog_file = ${join(folder, 'mail.log')}`,
    `maillog_file_prefixes = ${folder}`,
    'myhostname = relay.acme.example',
    'mydestination =',
    'mynetworks = 127.0.0.0/8',
    'inet_interfaces = 127.0.0.1',
    'inet_protocols = ipv4',
    `relayhost = [127.0.0.1]:${sinkPort}`,
    'message_size_limit = 104857600',
    'mailbox_size_limit = 0',
    '',
  ].join('\n')
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('data', () => {
      socket.end('QUIT\r\n')
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
