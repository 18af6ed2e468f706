import { randomBytes } from 'node:crypto'
import { rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { broken, type Finding, look, ok } from './doctor-finding.ts'

const MB = 1_000_000
const LITTLE = 1_000 * MB
const TOO_LITTLE = 100 * MB

/** Room in each folder, and whether it can be written by whoever runs this. A folder that is still to be made is judged by what is above. */
export async function diskFindings(folders: Readonly<Record<string, string>>): Promise<Finding[]> {
  return Promise.all(Object.entries(folders).map(([what, folder]) => folderFinding(what, folder)))
}

async function folderFinding(what: string, folder: string): Promise<Finding> {
  const there = await nearest(folder)
  const fault = await writeFault(there)
  const place = there === folder ? folder : `${folder} (to be made in ${there})`
  if (fault !== null) {
    const todo = 'give it to the user that runs the process, and run the doctor as that user'
    return broken('disk', `${what}: ${place} cannot be written (${fault})`, fault === 'ENOSPC' ? 'make room' : todo)
  }
  const { bavail, bsize, blocks, ffree, files } = await statfs(there)
  const free = bavail * bsize
  const room = `${Math.floor(free / MB).toLocaleString('en')} MB free of ${Math.floor((blocks * bsize) / MB).toLocaleString('en')}`
  if (free < TOO_LITTLE)
    return broken('disk', `${what}: ${place}, ${room}`, 'make room: mail is refused before the disk is full')
  if (free < LITTLE) return look('disk', `${what}: ${place}, ${room}`, 'make room, or move the folder to a larger disk')
  if (files > 0 && ffree < 10_000)
    return look('disk', `${what}: ${place} has room for ${ffree} files`, 'make room for files (inodes)')
  return ok('disk', `${what}: ${place}, ${room}`)
}

/** The folder itself, or the nearest one above that is there. */
async function nearest(folder: string): Promise<string> {
  const isThere = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  )
  return isThere || dirname(folder) === folder ? folder : nearest(dirname(folder))
}

/** Trying is the only answer that counts: modes, quotas and read-only mounts are all asked. */
async function writeFault(folder: string): Promise<string | null> {
  const file = join(folder, `.sealpost-doctor-${randomBytes(6).toString('hex')}`)
  try {
    await writeFile(file, Buffer.alloc(4096), { flag: 'wx', mode: 0o600 })
    await rm(file)
    return null
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
  }
}
