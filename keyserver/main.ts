import { readFileSync } from 'node:fs'
import closeWithGrace from 'close-with-grace'
import { pino } from 'pino'
import { ConfigError } from '../protocol/config-document.ts'
import { openLogOutput } from '../protocol/log-output.ts'
import { takeAlone } from '../protocol/sole-user.ts'
import { systemFault } from '../protocol/system-fault.ts'
import { loadConfig } from './config-file.ts'
import { KekError } from './kek-file.ts'
import { startServer } from './server.ts'

const EXIT_CONFIG = 78
const EXIT_FAILED = 1
const GRACE = 15_000

async function main(args: readonly string[]): Promise<void> {
  const [file, ...more] = args
  if (file === undefined || more.length > 0) {
    throw new ConfigError(['say which configuration: node keyserver/main.ts <keyserver.yaml>'])
  }
  const config = loadConfig(file)
  const alone = takeAlone(`${config.database}.lock`, `database: ${config.database}`)
  const output = openLogOutput()
  const options = { level: config.log.level, base: { process: 'keyserver' }, serializers: { err: withoutStack } }
  const log = pino(options, output)
  const server = await startServer(config, {
    log,
    version: versionOf(),
    time: { wall: () => Date.now(), elapsed: () => performance.now() },
  })
  closeWithGrace({ delay: GRACE, logger: false }, async ({ err, signal }) => {
    if (err === undefined) log.info({ signal }, 'stopping')
    else log.fatal({ err: { message: err.message } }, 'stopping after a fault of its own')
    await server.close()
    alone.release()
  })
  // Whoever reads this may send a signal at once.
  for (const [name, address] of Object.entries(server.addresses)) {
    output.write(`keyserver ${name} listening on ${address}\n`)
  }
  output.flushSync()
}

/** What the log says of an error: as the gateway's, without its stack. */
function withoutStack(error: unknown) {
  if (!(error instanceof Error)) return String(error)
  return { type: error.name, code: 'code' in error ? error.code : undefined, message: error.message }
}

function versionOf(): string {
  const read: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return typeof read === 'object' && read !== null && 'version' in read ? String(read.version) : 'unknown'
}

try {
  await main(process.argv.slice(2))
} catch (cause) {
  const faults = cause instanceof ConfigError ? cause.faults : [systemFault(cause)]
  for (const fault of faults) process.stderr.write(`keyserver: ${fault}\n`)
  process.exitCode = cause instanceof ConfigError || cause instanceof KekError ? EXIT_CONFIG : EXIT_FAILED
}
