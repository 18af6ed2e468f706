import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** What the daemons of the tests know as harmful. */
export const MARKER = 'sealpost-harmless-test-marker'
/** Under this name. */
export const NAME = 'Sealpost.Test.Marker'

/** Where Debian puts them. */
const CLAMD = '/usr/sbin/clamd'
const ICAP = '/usr/bin/c-icap'
const SERVICES = '/usr/lib/x86_64-linux-gnu/c_icap'

export const hasClamd = existsSync(CLAMD)
export const hasIcap = hasClamd && existsSync(ICAP) && existsSync(join(SERVICES, 'virus_scan.so'))

/** ClamAV's daemon with one signature; messages of up to `most` octets. */
export async function startClamd(
  t: Test,
  most = 1_048_576,
): Promise<{ readonly socket: string; readonly port: number }> {
  // A socket's path must be short, and a test's folder is not.
  const folder = mkdtempSync(join(tmpdir(), 'clamd-'))
  const socket = join(folder, 'clamd.ctl')
  const port = await freePort()
  await mkdir(join(folder, 'db'))
  writeFileSync(join(folder, 'db', 'test.ndb'), `${NAME}:0:*:${Buffer.from(MARKER).toString('hex')}\n`)
  const lines = ['Foreground yes', `DatabaseDirectory ${folder}/db`, `LocalSocket ${socket}`, `TCPSocket ${port}`]
  const own = process.getuid?.() === 0 ? ['User root'] : []
  const config = [...lines, ...own, 'TCPAddr 127.0.0.1', `StreamMaxLength ${most}`, 'MaxThreads 4', '']
  writeFileSync(join(folder, 'clamd.conf'), config.join('\n'))
  const daemon = spawn(CLAMD, ['-c', join(folder, 'clamd.conf')], { stdio: 'ignore' })
  endWith(t, daemon, folder)
  await listening(port)
  return { socket, port }
}

/** c-icap with its service for viruses before that daemon; `avscan`, and `echo` that gives back what it gets. */
export async function startIcap(t: Test, socket: string): Promise<{ readonly port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'c-icap-'))
  const port = await freePort()
  const own = process.getuid?.() === 0 ? ['User root', 'Group root'] : []
  const config = [
    ...own,
    `PidFile ${folder}/pid`,
    `CommandsSocket ${folder}/ctl`,
    `Port 127.0.0.1:${port}`,
    'StartServers 1',
    'MaxServers 1',
    `TmpDir ${folder}`,
    `ModulesDir ${SERVICES}`,
    `ServicesDir ${SERVICES}`,
    'LoadMagicFile /etc/c-icap/c-icap.magic',
    'TemplateDir /usr/share/c_icap/templates/',
    `ServerLog ${folder}/server.log`,
    `AccessLog ${folder}/access.log`,
    'Module common clamd_mod.so',
    `clamd_mod.ClamdSocket ${socket}`,
    'Service antivirus_module virus_scan.so',
    'ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple',
    'virus_scan.DefaultEngine clamd',
    'virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE',
    'virus_scan.SendPercentData 0',
    'Service echo srv_echo.so',
    '',
  ]
  writeFileSync(join(folder, 'c-icap.conf'), config.join('\n'))
  const daemon = spawn(ICAP, ['-N', '-f', join(folder, 'c-icap.conf')], { stdio: 'ignore' })
  endWith(t, daemon, folder)
  await listening(port)
  return { port }
}

function endWith(t: Test, daemon: ChildProcess, folder: string): void {
  t.teardown(async () => {
    if (daemon.exitCode === null) {
      const ended = once(daemon, 'exit')
      daemon.kill('SIGTERM')
      const timer = setTimeout(() => daemon.kill('SIGKILL'), 5000)
      await ended
      clearTimeout(timer)
    }
    rmSync(folder, { recursive: true, force: true })
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, '127.0.0.1')
    const there = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (there) return
    await sleep(100)
  }
  throw new Error(`nothing listens on port ${port}`)
}
