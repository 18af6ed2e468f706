import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import t from 'tap'
import { parse, parseDocument } from 'yaml'
import { certs } from '../cli/certs.ts'
import { loadConfig as loadGateway } from '../gateway/config.ts'
import { loadConfig as loadKeyserver } from '../keyserver/config-file.ts'
import { capture } from './cli/capture.ts'

/* compose.yaml beside the Dockerfile that it builds and the configurations that docs/operations.md gives for it. No container is started here. */
type Service = {
  readonly command: readonly string[]
  readonly read_only: boolean
  readonly cap_drop: readonly string[]
  readonly security_opt: readonly string[]
  readonly tmpfs: readonly string[]
  readonly volumes: readonly string[]
  readonly secrets: readonly string[]
  readonly environment: { readonly SEALPOST_OPS_PORT: string }
  readonly networks: readonly string[]
  readonly ports: readonly string[]
  readonly healthcheck: { readonly test: readonly string[] }
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
}
type Compose = {
  readonly services: Readonly<Record<'keyserver' | 'gateway', Service>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly networks: Readonly<Record<string, unknown>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}
const root = join(import.meta.dirname, '..')
const read = (name: string) => readFileSync(join(root, name), 'utf8')
const compose = parse(read('compose.yaml')) as Compose
const dockerfile = read('Dockerfile')
const services = Object.entries(compose.services)
const operations = [...read('docs/operations.md').matchAll(/^```yaml\n(.*?)\n```$/gms)].map(([, text = '']) => text)
const configs = {
  keyserver: operations.find((text) => text.includes('keyStore:')) ?? '',
  gateway: operations.find((text) => text.includes('listeners:')) ?? '',
}
type Named = { readonly ops: { readonly port: number } }

t.test('it is YAML without surprises, and everything that a service names is declared', async (t) => {
  t.same(parseDocument(read('compose.yaml')).errors, [])
  t.same(Object.keys(compose.services).toSorted(), ['gateway', 'keyserver'])
  const used = services
    .flatMap(([, { volumes }]) => volumes.map((one) => one.split(':')[0] ?? ''))
    .filter((name) => !name.startsWith('.'))
  t.same(used.toSorted(), Object.keys(compose.volumes).toSorted(), 'each service has a volume of its own')
  t.same(services.flatMap(([, { secrets }]) => secrets).toSorted(), Object.keys(compose.secrets).toSorted())
  t.same(
    [...new Set(services.flatMap(([, { networks }]) => networks))].toSorted(),
    Object.keys(compose.networks).toSorted(),
  )
  t.match(compose.networks, { control: { internal: true } })
})

t.test('what is compiled when the image is built is read afterwards, and written by nobody', async (t) => {
  const folder = /^ENV NODE_COMPILE_CACHE=\/opt\/sealpost\/(\w+)$/m.exec(dockerfile)?.[1]
  t.type(folder, 'string', 'within the read-only root')
  t.match(dockerfile, new RegExp(`chown -R root:root ${folder} && chmod -R a=rX,u\\+w ${folder}$`, 'm'))
  t.ok(dockerfile.indexOf('chown -R root:root') < dockerfile.indexOf('\nUSER node\n'))
})

t.test('each role runs with a root that cannot be written, without rights, and watched', async (t) => {
  for (const [name, service] of services) {
    t.same(service.command, [name], 'a role of the image')
    t.match(dockerfile, `sealpost ${name}`)
    t.equal(service.read_only, true)
    t.same(service.cap_drop, ['ALL'])
    t.same(service.security_opt, ['no-new-privileges:true'])
    t.match(service.tmpfs[0], /^\/tmp:size=\d+[mg],mode=1777$/)
    t.ok(
      service.volumes.filter((one) => one.startsWith('.')).every((one) => one.endsWith(':ro')),
      'what lies on the host is read only',
    )
    t.ok(service.volumes.some((one) => one.endsWith(':/var/lib/sealpost')))
    t.equal(
      Number(service.environment.SEALPOST_OPS_PORT),
      (parse(configs[name as keyof typeof configs]) as Named).ops.port,
    )
    t.match(
      dockerfile,
      JSON.stringify(service.healthcheck.test.slice(1)).replaceAll('","', '", "'),
      'the same check as in the image',
    )
    for (const port of service.ports) t.match(dockerfile, new RegExp(`^EXPOSE .*\\b${port.split(':').at(-1)}\\b`, 'm'))
  }
  t.same(compose.services.gateway.depends_on, { keyserver: { condition: 'service_healthy' } })
})

t.test('the configurations in docs/operations.md load, and name only what is mounted', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-compose-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  await certs(['init', '--to', join(folder, 'certs')], capture())
  mkdirSync(join(folder, 'secrets'))
  for (const name of Object.keys(compose.secrets)) {
    const made = name.startsWith('acme-') ? 'ab'.repeat(32) : readFileSync(join(folder, 'certs', name))
    writeFileSync(join(folder, 'secrets', name), made, { mode: 0o600 })
  }
  for (const [name, service] of services) {
    const text = configs[name as keyof typeof configs]
    const mounts = [
      ...service.volumes.map((one) => one.split(':')[1] ?? ''),
      ...service.secrets.map((one) => `/run/secrets/${one}`),
    ]
    const paths = [...text.matchAll(/\b(?:file|key|cert|ca|data|database|keyStore|policies): ([\w./-]+)/g)].map(
      ([, path = '']) => posix.resolve('/etc/sealpost', path),
    )
    t.ok(paths.length > 5)
    for (const path of paths)
      t.ok(
        mounts.some((mount) => path === mount || path.startsWith(`${mount}/`)),
        path,
      )
    const here = text
      .replaceAll('/run/secrets', join(folder, 'secrets'))
      .replaceAll('/var/lib/sealpost', join(folder, 'data'))
    writeFileSync(join(folder, `${name}.yaml`), here)
  }
  t.match(loadKeyserver(join(folder, 'keyserver.yaml')), { ops: { port: 8445 } })
  t.match(loadGateway(join(folder, 'gateway.yaml')), { ops: { port: 8447 } })
})

t.test('no secret is in the image, and none in the repository', async (t) => {
  const ignored = read('.dockerignore').split('\n')
  const kept = read('.gitignore').split('\n')
  for (const { file } of Object.values(compose.secrets)) t.match(file, /^\.\/secrets\/[\w.-]+$/)
  for (const list of [ignored, kept]) t.ok(list.some((line) => /^\/?secrets\//.test(line)))
})
