import { readPublicFile, readSecretFile } from '../protocol/secret-file.ts'
import type { ConfigFile } from './config-schema.ts'

/** What reading goes on with although something is wrong, so that all faults are told at once. */
export type Reading = {
  readonly file: ConfigFile
  readonly at: (path: string) => string
  readonly faults: string[]
  readonly now: Date
}

/** The trimmed text of a secret's file; null where there is none, or with a fault. */
export function secretOf(
  { at, faults }: Reading,
  secret: { readonly file: string } | undefined,
  place: string,
): string | null {
  if (secret === undefined) return null
  const read = readSecretFile(at(secret.file), 'the secret')
  if (read.kind === 'read') return read.content.toString('utf8').trim()
  faults.push(`${place}: ${read.fault}`)
  return null
}

/** The text of a file that anyone may read; '' with a fault. */
export function publicOf({ at, faults }: Reading, name: string, place: string): string {
  const read = readPublicFile(at(name), 'the file')
  if (read.kind === 'read') return read.content.toString('utf8')
  faults.push(`${place}: ${read.fault}`)
  return ''
}
