import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'

/** What became of an attempt to read a file: its octets, or one sentence that names the file and says what to do. */
export type FileContent =
  | { readonly kind: 'read'; readonly content: Buffer }
  | { readonly kind: 'fault'; readonly fault: string }

/** No key, certificate or bundle that is meant is larger; a wrong path often is. */
const LARGEST = 4 * 1024 * 1024

/**
 * Reads a file that only its owner may read: a private key, a password, a key-encryption key. A group- or world-accessible file is
 * a fault (POSIX modes; Windows has none to look at). The mode is that of the opened file, so a swap in between gains nothing.
 */
export function readSecretFile(path: string, what: string): FileContent {
  return read(path, what, true)
}

/** Reads a file that anyone may read, such as a certificate. */
export function readPublicFile(path: string, what: string): FileContent {
  return read(path, what, false)
}

function read(path: string, what: string, secret: boolean): FileContent {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    return { kind: 'fault', fault: `${path}: ${what} ${openFault(error)}` }
  }
  try {
    const stat = fstatSync(file)
    if (!stat.isFile()) return { kind: 'fault', fault: `${path}: ${what} must be a file; name a file here` }
    if (stat.size > LARGEST) return { kind: 'fault', fault: `${path}: too large for ${what}; name the right file here` }
    if (secret && process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0')
      return {
        kind: 'fault',
        fault: `${path}: ${what} can be reached by other users (mode ${mode}); run: chmod 600 ${path}`,
      }
    }
    return { kind: 'read', content: readFileSync(file) }
  } catch (error) {
    return { kind: 'fault', fault: `${path}: ${what} ${openFault(error)}` }
  } finally {
    closeSync(file)
  }
}

function openFault(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'is missing; make it, or correct the path'
  if (code === 'EACCES') return 'cannot be read by this user; give the file to the user that runs Sealpost'
  return `cannot be read (${code})`
}
