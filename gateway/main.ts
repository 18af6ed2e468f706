import { join } from 'node:path'
import closeWithGrace from 'close-with-grace'
import { ConfigError } from '../protocol/config-document.ts'
import { openLogOutput } from '../protocol/log-output.ts'
import { takeAlone } from '../protocol/sole-user.ts'
import { systemFault } from '../protocol/system-fault.ts'
import { collectAfterLoading, collectAsNewerEngines } from './collector.ts'
import { type Config, loadConfig } from './config.ts'
import { startGateway } from './gateway.ts'
import { createLog } from './log.ts'
import { startReloading } from './reload.ts'

const EXIT_CONFIG = 78
const EXIT_FAILED = 1
/** Beyond the drain of the listeners, for what comes after it. */
const AFTER_DRAIN_MS = 10_000
/** A changed certificate is in use at the latest after twice that. */
const LOOK_AT_FILES_MS = 10_000

async function main(args: readonly string[]): Promise<void> {
  const [file, ...more] = args
  if (file === undefined || more.length > 0) {
    throw new ConfigError(['say which configuration: node gateway/main.ts <gateway.yaml>'])
  }
  const config = loadConfig(file)
  const alone = takeAlone(join(config.data, '.lock'), `data: ${config.data}`)
  const output = openLogOutput()
  const log = createLog(config.logLevel, output)
  const gateway = await startGateway(config, log)
  collectAfterLoading()
  const load = () => loadConfig(file)
  const apply = (next: Config) => gateway.reload(next)
  const reloading = startReloading({ first: config, load, apply, log, everyMs: LOOK_AT_FILES_MS })
  process.on('SIGHUP', () => void reloading.reload('SIGHUP'))
  const drain = Math.max(...config.listeners.map((listener) => listener.options.drainMs))
  closeWithGrace({ delay: drain + AFTER_DRAIN_MS, logger: false, skip: ['SIGHUP'] }, async ({ err, signal }) => {
    if (err === undefined) log.info('stopping', { reason: signal ?? 'asked to' })
    else log.error('stopping after a fault of its own', { cause: err })
    reloading.stop()
    await gateway.close()
    alone.release()
  })
  // Whoever reads this may send a signal at once.
  for (const { name, address, port } of gateway.addresses) {
    output.write(`gateway ${name} listening on ${address}:${port}\n`)
  }
  output.flushSync()
}

collectAsNewerEngines()
try {
  await main(process.argv.slice(2))
} catch (error) {
  const faults = error instanceof ConfigError ? error.faults : [portFault(error)]
  for (const fault of faults) process.stderr.write(`gateway: ${fault}\n`)
  // Parts that had begun would keep the process here, neither at work nor ended.
  process.exit(error instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILED)
}

function portFault(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, port, address } = error as NodeJS.ErrnoException & { readonly port?: number; readonly address?: string }
  if (code === 'EADDRNOTAVAIL') return `${address} is no address of this machine; configure one that is`
  if (port === undefined) return systemFault(error)
  if (code === 'EADDRINUSE') return `port ${port} is taken by another program; stop it or configure another port`
  if (code === 'EACCES')
    return `port ${port} is not for this user; configure one above 1023, or grant CAP_NET_BIND_SERVICE`
  return error.message
}
