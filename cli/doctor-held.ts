import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../gateway/config.ts'
import { holdPlaceIn } from '../gateway/hold-folder.ts'
import { broken, type Finding, look, ok } from './doctor-finding.ts'

/** As the gateway names what a rule holds. */
const ENTRY = /^[0-9a-f]{22}$/
const HOUR_MS = 3_600_000

/** What waits for an officer and since when. Nothing of it is read. */
export async function heldFindings({ data }: Pick<Config, 'data'>, now: Date): Promise<Finding[]> {
  const { folder, keyFile } = holdPlaceIn(data)
  const names = await readdir(folder).catch(() => [])
  const times = await Promise.all(names.filter((name) => ENTRY.test(name)).map((name) => timeOf(join(folder, name))))
  const known = times.filter((time) => time !== null)
  if (known.length === 0) return [ok('held', 'no mail waits for an officer')]
  const hours = Math.floor((now.getTime() - Math.min(now.getTime(), ...known)) / HOUR_MS)
  const mails = known.length === 1 ? '1 mail waits' : `${known.length} mails wait`
  const wait = `${mails} for an officer, the oldest for ${hours} h`
  const todo = 'an officer decides: sealpost held list; what nobody decides on goes back to its sender'
  const found = [hours >= 24 ? look('held', wait, todo) : ok('held', wait)]
  if ((await timeOf(keyFile)) === null) {
    const lost =
      'bring it back from where it was moved to; without it what is held is lost, and the gateway does not start'
    found.push(broken('held', `its key ${keyFile} is missing`, lost))
  }
  return found
}

/** Null for what is not there, or no longer. */
async function timeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  )
}
