import { generateKeyPair } from 'node:crypto'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { domainToASCII } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { dkimRecord, dkimRecordName } from '../gateway/dkim-key.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
const DOMAIN = new RegExp(`^${LABEL}(?:\\.${LABEL})+$`)
const SELECTOR = new RegExp(`^${LABEL}(?:\\.${LABEL}){0,3}$`)
/** Octets of one string of a TXT record (RFC 1035 3.3.14). */
const STRING = 255

/** `sealpost dkim DOMAIN --selector NAME --to FILE [--type rsa|ed25519]`: makes a key that is in nobody's reach but the caller's. */
export async function dkim(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { selector: { type: 'string' }, to: { type: 'string' }, type: { type: 'string', default: 'rsa' } },
    allowPositionals: true,
  })
  const [name, ...more] = positionals
  if (name === undefined || more.length > 0) throw new UsageError('dkim: say one DOMAIN, such as acme.example')
  const domain = domainToASCII(name)
  if (domain.length > 253 || !DOMAIN.test(domain))
    throw new UsageError(`dkim: ${JSON.stringify(name)} is no domain, such as acme.example`)
  const selector = values.selector?.toLowerCase() ?? ''
  if (!SELECTOR.test(selector)) throw new UsageError('dkim: give a --selector of letters, digits and -, such as s2026')
  const { to, type } = values
  if (to === undefined) throw new UsageError('dkim: say where the key goes with --to FILE')
  if (type !== 'rsa' && type !== 'ed25519') throw new UsageError('dkim: --type is rsa or ed25519')
  const pem = await makeKey(type)
  write(to, pem)
  for (const line of told(domain, selector, to, pem)) io.out(line)
  return exits.ok
}

async function makeKey(type: 'rsa' | 'ed25519'): Promise<string> {
  const make = promisify(generateKeyPair)
  const { privateKey } = type === 'rsa' ? await make('rsa', { modulusLength: 2048 }) : await make('ed25519', undefined)
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** Never over an old file: mail under way is still checked against its key. */
function write(path: string, pem: string): void {
  let file: number
  try {
    file = openSync(path, 'wx', 0o600)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === 'EEXIST') {
      throw new Failure(`${path}: is there already; nothing was written. A new key gets a new file and a new selector`)
    }
    if (code === 'ENOENT') throw new Failure(`${path}: there is no such folder; make it first`)
    throw error
  }
  try {
    writeSync(file, pem)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function told(domain: string, selector: string, path: string, pem: string): string[] {
  const strings = dkimRecord(pem).match(new RegExp(`.{1,${STRING}}`, 'g')) ?? []
  return [
    `The private key is in ${path}, readable by you alone.`,
    '',
    '1. Put this record into the DNS of the domain. Where a form asks for the text, paste it without the quotes, as one:',
    '',
    `${dkimRecordName({ domain, selector })}. 3600 IN TXT ( ${strings.map((text) => `"${text}"`).join(' ')} )`,
    '',
    '2. When it can be seen, put the key into gateway.yaml, under the organization, and reload the gateway (kill -HUP):',
    '',
    '    dkim:',
    `      - {domain: ${domain}, selector: ${selector}, key: ${resolve(path)}}`,
    '',
    '3. Ask: sealpost doctor --gateway gateway.yaml',
  ]
}
