import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import { systemFault } from '../protocol/system-fault.ts'
import { loadTlsFiles, type TlsFiles } from '../protocol/tls-files.ts'
import { exits, Failure, UsageError } from './io.ts'

/** The options by which a command names the key server and the officer's certificate; for `parseArgs`. */
export const officerOptions = {
  config: { type: 'string' },
  keyserver: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  ca: { type: 'string' },
} as const

type Settings = { readonly [Name in keyof typeof officerOptions]?: string | undefined }
const needed = ['keyserver', 'cert', 'key', 'ca'] as const
const DEADLINE = 15_000
const LONGEST_ANSWER = 1024 * 1024

/** Posts `body` to the key server's mTLS listener in the officer's name. */
export type Officer = { readonly post: (path: string, body: object) => Promise<unknown> }

/** Reads the settings (flags win over the file) and checks the files. Throws a {@link Failure} that lists every fault at once. */
export function createOfficer(given: Settings): Officer {
  const settings = { ...(given.config === undefined ? {} : readConfig(given.config)), ...defined(given) }
  const missing = needed.filter((name) => settings[name] === undefined)
  if (missing.length > 0) {
    throw new UsageError(
      `Missing: ${missing.map((name) => `--${name}`).join(', ')}, or --config with a file that has them`,
    )
  }
  const { keyserver = '', cert = '', key = '', ca = '' } = settings
  if (!URL.canParse(keyserver) || new URL(keyserver).protocol !== 'https:') {
    throw new UsageError(`${JSON.stringify(keyserver)} is no https:// address of a key server`)
  }
  const load = loadTlsFiles({ cert, key, ca })
  if (load.kind === 'faults') throw new Failure(load.faults.join('\n'), exits.config)
  return { post: (path, body) => post(new URL(path, keyserver), body, load.files) }
}

function readConfig(path: string): Settings {
  let file: unknown
  try {
    file = parse(readFileSync(path, 'utf8'), { maxAliasCount: 0 })
  } catch (error) {
    throw new Failure(systemFault(error, path), exits.config)
  }
  const entries = typeof file === 'object' && file !== null ? Object.entries(file) : []
  const faults = entries
    .filter(([name, value]) => !needed.some((one) => one === name) || typeof value !== 'string')
    .map(([name]) => `${path}: ${name} does not belong here; the file takes ${needed.join(', ')}, each a text`)
  if (entries.length === 0) faults.push(`${path}: says nothing; write ${needed.join(', ')}`)
  if (faults.length > 0) throw new Failure(faults.join('\n'), exits.config)
  return Object.fromEntries(
    entries.map(([name, value]) => [name, name === 'keyserver' ? value : resolve(dirname(path), String(value))]),
  )
}

function defined(settings: Settings): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}

function post(url: URL, body: object, tls: TlsFiles): Promise<unknown> {
  const { promise, resolve: done, reject } = Promise.withResolvers<unknown>()
  const text = JSON.stringify(body)
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  const { cert, key, ca } = tls
  const call = request(url, { method: 'POST', headers, cert, key, ca, agent: false, timeout: DEADLINE }, (answer) => {
    let read = ''
    answer.setEncoding('utf8')
    answer.on('data', (piece: string) => {
      read += piece
      if (read.length > LONGEST_ANSWER) call.destroy(new Error('the answer is too long'))
    })
    answer.on('error', (error) => reject(unreached(url, error.message)))
    answer.on('end', () => {
      try {
        done(judge(url, answer.statusCode ?? 0, read))
      } catch (error) {
        reject(error)
      }
    })
  })
  call.on('timeout', () => call.destroy(new Error(`no answer within ${DEADLINE / 1000} s`)))
  call.on('error', (error) => reject(unreached(url, reasonOf(error))))
  call.end(text)
  return promise
}

/** OpenSSL's own message would name addresses in memory and lines of its source. */
function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return code === 'EPROTO' ? 'this port does not speak TLS as expected; name the port of gatewayListener' : message
}

function unreached(url: URL, why: string): Failure {
  return new Failure(
    `The key server at ${url.origin} did not answer: ${why}. Nothing was changed as far as known; try again.`,
  )
}

function judge(url: URL, status: number, text: string): unknown {
  const answer = readJson(text)
  if (status >= 200 && status < 300) return answer
  const code = fieldOf(answer, 'code') ?? `status ${status}`
  const detail = fieldOf(answer, 'detail') ?? fieldOf(answer, 'title') ?? 'no reason was given'
  throw new Failure(`The key server at ${url.origin} refused (${code}): ${detail}`)
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // A proxy in between answers with a page; the status says enough.
  }
}

/** The text under `name` of a JSON object, without control characters; undefined if there is none. */
export function fieldOf(answer: unknown, name: string): string | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined
  const value: unknown = Reflect.get(answer, name)
  return typeof value === 'string' ? value.replace(/\p{Cc}/gu, ' ') : undefined
}
