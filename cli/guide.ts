import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { readSecretFile } from '../protocol/secret-file.ts'
import { readYaml } from '../protocol/yaml-text.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

const guides = ['microsoft-365', 'google-workspace', 'postfix', 'exim']
const folder = resolve(import.meta.dirname, '..', 'docs', 'guides')

/** `sealpost guide`: what a page of docs/guides says to type, with the values of a configuration in the place of the page's. */
export async function guide(argv: readonly string[], io: Io): Promise<number> {
  const options = { gateway: { type: 'string' }, org: { type: 'string' }, address: { type: 'string' } } as const
  const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
  const [name = '', ...more] = positionals
  if (!guides.includes(name) || more.length > 0) throw new UsageError(`guide: say one of ${guides.join(', ')}`)
  if (values.gateway === undefined) throw new UsageError('guide: name the configuration of the gateway with --gateway')
  const page = await readFile(join(folder, `${name}.md`), 'utf8')
  const filled = new Map([
    ...(await valuesIn(values.gateway, values.org)),
    ['192.0.2.25', values.address ?? '192.0.2.25'],
  ])
  const placeholders = [...filled.keys()]
    .toSorted((a, b) => b.length - a.length)
    .map((one) => one.replaceAll('.', '\\.'))
  const any = new RegExp(placeholders.join('|'), 'g')
  for (const { heading, code } of commandsIn(page)) {
    io.out(`# ${heading}`)
    io.out(`${code.replace(any, (found) => filled.get(found) ?? found)}\n`)
  }
  io.out(`# Try it as docs/guides/${name}.md says before it is for everybody.`)
  return exits.ok
}

/** The blocks to paste, by their headings; trying and rolling back are not among them. */
function commandsIn(page: string): readonly { readonly heading: string; readonly code: string }[] {
  const [setup = ''] = page.split(/^## [\d. ]*Try it$/m)
  return setup.split(/^## /m).flatMap((section) => {
    const heading = section.split('\n', 1)[0] ?? ''
    const blocks = section.matchAll(/^```(?!yaml|sh)\S+\n(.*?)\n```$/gms)
    return [...blocks].map(([, code = '']) => ({ heading, code }))
  })
}

type Given = { readonly file?: unknown; readonly host?: unknown }
type File = {
  readonly name?: unknown
  readonly data?: unknown
  readonly organizations?: Readonly<Record<string, Readonly<Record<string, Given>>>>
}

/** What the pages call it, and what it is here. Only what is needed is read: other files may be out of this user's reach. */
async function valuesIn(path: string, wanted: string | undefined): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(path, 'utf8').catch(() => {
    throw new Failure(`${path}: cannot be read; name the gateway's configuration`, exits.config)
  })
  const read = readYaml(text)
  if ('faults' in read) throw new Failure(read.faults.map((fault) => `${path}: ${fault}`).join('\n'), exits.config)
  const file = (read.value ?? {}) as File
  const organizations = Object.keys(file.organizations ?? {})
  const [first, ...others] = organizations
  if (first === undefined)
    throw new Failure(`${path}: organizations is missing; name the gateway's configuration`, exits.config)
  if (wanted === undefined && others.length > 0) throw new UsageError('guide: say which organization with --org')
  const id = wanted ?? first
  const org = file.organizations?.[id]
  if (org === undefined)
    throw new Failure(`${path}: there is no organization ${id}, only ${organizations.join(', ')}`, exits.config)
  const at = (place: unknown, made: string) =>
    resolve(dirname(path), typeof place === 'string' ? place : join(String(file.data), made))
  // Of two secrets the first takes the other's place.
  const newest = (given: Given | undefined) => [given].flat()[0]?.file
  const secret = (place: string) => {
    const found = readSecretFile(place, 'the secret')
    // For a PowerShell string in single quotes; the gateway's own secrets hold none.
    return found.kind === 'read'
      ? found.content.toString('utf8').trim().replaceAll("'", "''")
      : `(not read: ${found.fault})`
  }
  return new Map([
    ['gateway.acme.example', String(file.name)],
    ['acme-example.mail.protection.outlook.com', String(org.nextHop?.host)],
    ['acme.example', id],
    ['what stands in data/acme-tenant.secret', secret(at(newest(org.tenantSecret), 'no-tenant-secret'))],
    ['what stands in data/acme-loop.secret', secret(at(newest(org.loopSecret), `${id}.loop`))],
  ])
}
