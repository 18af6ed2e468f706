import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { commands } from '../cli/commands.ts'

/** What must hold of the repository itself, whatever is built in it. */

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')

type Lock = {
  packages: Record<
    string,
    {
      version?: string
      resolved?: string
      link?: boolean
      gypfile?: boolean
      hasInstallScript?: boolean
      optionalDependencies?: Record<string, string>
    }
  >
}
type Package = {
  scripts: Record<string, string>
  allowScripts: Record<string, boolean>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  license: string
}
const manifest = JSON.parse(read('package.json')) as Package
const lock = JSON.parse(read('package-lock.json')) as Lock

function trackedFiles(): string[] | null {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  if (!existsSync(join(root, '.git')) || git('--version').error !== undefined) return null
  const { stdout, stderr, status } = git('ls-files', '-z')
  if (status !== 0) throw new Error(`git ls-files: ${stderr}`)
  return stdout.split('\0').filter((file) => file !== '' && existsSync(join(root, file)))
}

const files = trackedFiles()
const unlessCheckout =
  files === null ? { skip: 'no git checkout, or no git: there is nothing that could be committed' } : {}
const contents = (files ?? []).map((file) => ({ file, content: readFileSync(join(root, file)).toString('latin1') }))

/** The files in which `pattern` occurs. */
function filesWith(pattern: RegExp, except: readonly string[] = []): string[] {
  return contents.filter(({ file, content }) => !except.includes(file) && pattern.test(content)).map(({ file }) => file)
}

/** What a secret looks like. A key's body is at least a line of base64: a bare header in a parser or a document is none. */
const secrets = {
  'a private key in PEM': /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\\nr"'+]*[A-Za-z0-9+/=]{40}/,
  'a token of a known service':
    /\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50}|xox[baprs]-\w{10}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36})\b/,
  'the private part of a JWK': /"kty"\s*:\s*"(?:EC|OKP|RSA)"[^}]*"d"\s*:\s*"[\w-]{40}/,
  'a long secret behind its name':
    /\b(?:password|passwd|secret|token|api_?key|kek)["']?\s*[:=]\s*["']?(?=[\w+/-]*\d)(?=[\w+/-]*[A-Z])[\w+/-]{32,}={0,2}["']?\s*[,;\n}]/i,
} as const
const SECRET_FILE =
  /(?:\.(?:pem|key|p12|pfx|jks|kek|sqlite|sqlite-wal|db)|(?:^|\/)(?:\.env(?:\..*)?|id_(?:rsa|ed25519|ecdsa)))$/

for (const [what, pattern] of Object.entries(secrets)) {
  t.test(`no file that is committed holds ${what}`, unlessCheckout, async (t) => {
    t.same(filesWith(pattern), [])
  })
}

t.test('no file of a kind that holds secrets or state is committed', unlessCheckout, async (t) => {
  const found = (files ?? []).filter((file) => SECRET_FILE.test(file))
  t.same(found, [])
})

t.test(
  'what the samples and the guide have an operator put beside the sources is neither committed nor in an image',
  unlessCheckout,
  async (t) => {
    const samples = read('gateway/gateway.sample.yaml') + read('keyserver/keyserver.sample.yaml')
    const beside = [...samples.matchAll(/(?<=[ {])\.\.\/((?:data|certs|secrets|etc)\/[\w./-]+)/g)].map(
      ([, file]) => file ?? '',
    )
    t.ok(beside.includes('data/next-hop-password'))
    const secret = ['data/gateway/acme.example.loop', 'etc/keyserver.yaml', 'secrets/acme-trace.key', ...beside]
    for (const file of secret) {
      t.equal(spawnSync('git', ['check-ignore', '-q', file], { cwd: root }).status, 0, `${file} is not committed`)
    }
    const left = read('.dockerignore').split('\n')
    for (const folder of ['certs/*', 'data', 'etc', 'secrets/*'])
      t.ok(left.includes(folder), `${folder} is in no image`)
  },
)

t.test('each of these secrets would be found, if it were there', async (t) => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const random = randomBytes(64).toString('hex')
  const planted: Record<keyof typeof secrets, string> = {
    'a private key in PEM': String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    'a token of a known service': `x = ghp_${random.slice(0, 36)};`,
    'the private part of a JWK': JSON.stringify(privateKey.export({ format: 'jwk' })),
    'a long secret behind its name': `  password: A1${random}\n`,
  }
  for (const [what, pattern] of Object.entries(secrets)) t.match(planted[what as keyof typeof secrets], pattern)
  for (const file of ['certs/ca.key', 'a.pem', '.env', 'x/.env.local', 'keyserver.sqlite']) t.match(file, SECRET_FILE)
})

t.test('no path of one machine and no host of one registry is written anywhere', unlessCheckout, async (t) => {
  const own = ['test/repo.test.ts']
  t.same(filesWith(/(?<![\w.-])\/(?:work|home|Users)\/[A-Za-z0-9._-]+\//, own), [])
  t.same(filesWith(/registry\.[a-z0-9-]+\.[a-z]{2,}|artifactory|verdaccio|nexus\./i, own), [])
})

t.test('the lockfile names no host, so that every registry serves', async (t) => {
  const hosts = Object.entries(lock.packages).filter(([, entry]) => /^(?:https?|git|ssh)\W/.test(entry.resolved ?? ''))
  t.same(hosts, [])
  t.match(read('.npmrc'), 'omit-lockfile-registry-resolved=true')
})

t.test('the lockfile lists the binaries of every platform, or npm ci would refuse it', async (t) => {
  const listed = new Set(Object.keys(lock.packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)))
  const missing = Object.values(lock.packages)
    .flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}))
    .filter((name) => !listed.has(name))
  t.same(missing, [])
})

t.test("nothing is compiled by npm ci: Python, a compiler and Node's headers are not asked for", async (t) => {
  // npm takes a package with a binding.gyp for one to compile unless the lockfile's entry says otherwise; `npm install` drops that line again.
  const native = Object.keys(lock.packages).filter((path) => path !== '' && existsSync(join(root, path, 'binding.gyp')))
  t.ok(native.includes('node_modules/better-sqlite3'), 'packages are installed here')
  t.same(
    native.filter((path) => lock.packages[path]?.gypfile !== false),
    [],
    'add "gypfile": false to their entries in package-lock.json',
  )
})

t.test('npm may run the scripts that bring Node and esbuild, and no others', async (t) => {
  // From npm 12 on, what is not named here is skipped: there would be no Node 24.
  // By name alone: a lockfile that names no registry gives npm no version to hold against it. The integrity there does.
  const scripted = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript === true)
  const wanted = scripted.map(([path]) => [path.replace(/^.*node_modules\//, ''), true])
  t.same(manifest.allowScripts, Object.fromEntries(wanted))
})

t.test('every dependency is pinned to one version, the one in the lockfile', async (t) => {
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    t.match(version, /^\d+\.\d+\.\d+(?:-[\w.]+)?$/, name)
    t.equal(lock.packages[`node_modules/${name}`]?.version, version, name)
  }
})

t.test('the licence is Apache-2.0, in whole', async (t) => {
  const licence = read('LICENSE')
  t.equal(manifest.license, 'Apache-2.0')
  t.match(licence, /Apache License\s+Version 2\.0, January 2004/)
  t.match(licence, 'END OF TERMS AND CONDITIONS')
  t.equal(licence.length, 11_358)
})

t.test('what is started by hand can be executed', async (t) => {
  for (const file of ['cli/main.ts', '.ci/run']) {
    t.ok(read(file).startsWith('#!/usr/bin/env '), file)
    t.ok(statSync(join(root, file)).mode & 0o100, file)
  }
})

t.test('every command that the documents show exists', async (t) => {
  const pages = (files ?? []).filter((file) => file.endsWith('.md'))
  const own = new Set(['ci', 'test', ...Object.keys(manifest.scripts)])
  const names = new Set(['help', ...commands.map((entry) => entry.name)])
  for (const page of pages) {
    const text = read(page)
    for (const [, name] of text.matchAll(/\bnpm run (?:-s )?([a-z][\w-]*)/g))
      t.ok(own.has(name ?? ''), `${page}: npm run ${name}`)
    for (const [, name] of text.matchAll(/(?:npx |run -s )sealpost (?:-- )?([a-z][\w-]*)/g)) {
      t.ok(names.has(name ?? ''), `${page}: sealpost ${name}`)
    }
  }
})

t.test('every file and folder to which a document links is there', unlessCheckout, async (t) => {
  for (const page of (files ?? []).filter((file) => file.endsWith('.md'))) {
    for (const [, target] of read(page).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)/g)) {
      t.ok(existsSync(join(root, page, '..', target ?? '')), `${page} links to ${target}`)
    }
  }
})

t.test('every test that the threat model names is there', async (t) => {
  const named = [...read('docs/threat-model.md').matchAll(/`(test\/[\w/.-]+)`/g)].map(([, file]) => file ?? '')
  t.ok(named.length > 20)
  t.same(
    named.filter((file) => !existsSync(join(root, file))),
    [],
  )
})
