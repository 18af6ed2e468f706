import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../gateway/config.ts'
import { broken, type Finding, look, ok } from './doctor-finding.ts'

/** As the gateway names what was answered 250 and is not delivered yet. */
const ENTRY = /^[A-Za-z0-9_-]{22}$/

/** What waits in the spool and since when, and whether more can be taken in. Nothing of it is read. */
export async function spoolFindings({ spool }: Pick<Config, 'spool'>, now: Date): Promise<Finding[]> {
  const { folder, keyFile, reserve } = spool
  const names = await namesIn(folder)
  if (names === null) return [ok('spool', `nothing waits: ${folder} is made at the first start`)]
  const found = [await waitingFinding(spool, names, now)]
  if (names.length > 0 && !(await isThere(keyFile))) {
    const todo =
      'bring it back from where it was moved to; without it what waits is lost, and the gateway does not start'
    found.push(broken('spool', `its key ${keyFile} is missing`, todo))
  }
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < reserve) {
    const todo = 'make room on its disk, or move it (spool > folder): until then mail that would be spooled gets 4xx'
    found.push(broken('spool', `less than its reserve of ${reserve.toLocaleString('en')} octets is free`, todo))
  }
  return found
}

async function waitingFinding(spool: Config['spool'], names: readonly string[], now: Date): Promise<Finding> {
  if (names.length === 0) return ok('spool', 'nothing waits')
  const times = await Promise.all(names.map((name) => timeOf(join(spool.folder, name))))
  const ageMs = now.getTime() - Math.min(now.getTime(), ...times.filter((time) => time !== null))
  const wait = `${names.length} ${names.length === 1 ? 'mail waits' : 'mails wait'}, the oldest for ${inWords(ageMs)}`
  const todo =
    'look at the next hop above and at the log; the gateway goes on trying, and the sender is told when it gives up'
  if (ageMs > spool.lifeMs)
    return broken('spool', `${wait}: longer than it may`, 'look at the log, and restart the gateway')
  return ageMs > spool.delayNoticeMs ? look('spool', wait, todo) : ok('spool', wait)
}

async function namesIn(folder: string): Promise<readonly string[] | null> {
  try {
    return (await readdir(folder)).filter((name) => ENTRY.test(name))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

/** Null for what was delivered meanwhile. */
async function timeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  )
}

async function isThere(path: string): Promise<boolean> {
  return (await timeOf(path)) !== null
}

function inWords(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 72 ? `${hours} h` : `${Math.floor(hours / 24)} days`
}
