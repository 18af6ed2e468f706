import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { verifierKey } from '../../audit/checkpoint.ts'
import { audit } from '../../cli/audit.ts'
import { act, type Chest, createChest, life, ORG, START } from './chest.ts'

const folder = t.testdir({})
let files = 0
const place = (): string => join(folder, String(files++))

async function run(...argv: string[]): Promise<{ readonly exit: number; readonly out: string; readonly err: string }> {
  const out: string[] = []
  const err: string[] = []
  const exit = await audit(argv, {
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
  })
  return { exit, out: out.join(''), err: err.join('') }
}

/** Two logs; the organization's has 600 leaves, so that its export has full tiles and begun ones. */
function filled(t: { teardown(undo: () => void): void }): Chest {
  const chest = createChest(`${place()}.db`)
  t.teardown(() => chest.close())
  for (let i = 0; i < 600; i += 60) {
    chest.put(ORG, Array.from({ length: 20 }, () => life(ORG, START + i)).flat())
    chest.sign(ORG)
  }
  chest.put('server', [act(START)])
  chest.sign('server')
  return chest
}

t.test('verify says of each log that it is verified, and that the keys came from the database', async (t) => {
  const chest = filled(t)
  const { exit, out, err } = await run('verify', chest.file)
  t.equal(exit, 0)
  t.match(out, /^acme\.example: 600 leaves, 10 checkpoints\n {2}verified: root .+ over 600$/m)
  t.match(out, /^server: 1 leaf, 1 checkpoint$/m)
  t.match(out, /keys were taken from the very place/)
  t.equal(err, '')
})

t.test(
  'with a key, as text or in a file, only its logs are verified, and nothing is taken from the database',
  async (t) => {
    const chest = filled(t)
    const file = place()
    writeFileSync(file, `${verifierKey(chest.key(ORG))}\n`)
    for (const key of [file, verifierKey(chest.key(ORG))]) {
      const { exit, out } = await run('verify', chest.file, '--key', key)
      t.equal(exit, 0)
      t.notMatch(out, /very place/)
      t.match(out, /Not checked: 1 other log\./)
    }
  },
)

t.test('a database whose key was exchanged with all that it signed is found by the key that was kept', async (t) => {
  const [chest, forged] = [filled(t), filled(t)]
  t.equal((await run('verify', forged.file)).exit, 0, 'consistent in itself')
  const { exit, out } = await run('verify', forged.file, '--key', verifierKey(chest.key(ORG)))
  t.equal(exit, 1)
  t.match(out, /TAMPERED \(checkpoint-unsigned\)/)
})

t.test('a log that was taken away whole is missed by who kept its key or a checkpoint of it', async (t) => {
  const chest = filled(t)
  const kept = place()
  writeFileSync(kept, (await run('checkpoint', chest.file, '--log', ORG)).out)
  for (const table of ['log_leaf', 'log_key', 'log_checkpoint'])
    chest.db.prepare(`delete from ${table} where log = ?`).run(ORG)
  t.equal((await run('verify', chest.file)).exit, 0)
  for (const more of [
    ['--key', verifierKey(chest.key(ORG))],
    ['--against', kept],
  ]) {
    const { exit, out } = await run('verify', chest.file, ...more)
    t.equal(exit, 1)
    t.match(out, /log-missing.*mail\.acme\.example\/log\/acme\.example/)
  }
})

t.test('a roll-back is found --against a kept checkpoint', async (t) => {
  const chest = filled(t)
  const kept = place()
  writeFileSync(kept, (await run('checkpoint', chest.file, '--log', ORG)).out)
  t.equal((await run('verify', chest.file, '--against', kept)).exit, 0)
  chest.db.prepare('delete from log_leaf where log = ? and idx >= 300').run(ORG)
  chest.db.prepare('delete from log_checkpoint where log = ? and size > 300').run(ORG)
  t.equal((await run('verify', chest.file)).exit, 0)
  const { exit, out } = await run('verify', chest.file, '--against', kept)
  t.equal(exit, 1)
  t.match(out, /TAMPERED \(rolled-back\): it has 300 leaves, and the earlier checkpoint was made over 600/)
})

t.test('tampering is said in words and in JSON, with log and leaf', async (t) => {
  const chest = filled(t)
  chest.db.exec("update log_leaf set record = cast('{}' as blob) where idx = 77 and log = 'acme.example'")
  const words = await run('verify', chest.file, '--log', ORG)
  t.equal(words.exit, 1)
  t.match(words.out, /TAMPERED \(leaf-altered\): leaf 77: its record was altered/)
  const { exit, out } = await run('verify', chest.file, '--json')
  t.equal(exit, 1)
  t.match(JSON.parse(out), {
    verified: false,
    logs: [
      { log: ORG, faults: [{ kind: 'leaf-altered', log: ORG, from: 77, to: 77 }] },
      { log: 'server', faults: [] },
    ],
  })
})

t.test('an export is verified like the database, and carries no sealed values', async (t) => {
  const chest = filled(t)
  const to = place()
  const { exit, out } = await run('export', chest.file, '--log', ORG, '--to', to)
  t.equal(exit, 0)
  t.match(out, /600 leaves/)
  t.match((await run('verify', to, '--key', verifierKey(chest.key(ORG)))).out, /verified: root .+ over 600/)
  t.equal((await run('show', to)).out, (await run('show', chest.file, '--log', ORG)).out)
  t.equal(readFileSync(join(to, 'tile/0/000')).length, 256 * 32)
  t.equal(readFileSync(join(to, 'tile/0/002.p/88')).length, 88 * 32)
  t.equal(readFileSync(join(to, 'tile/1/000.p/2')).length, 2 * 32)
  t.equal((await run('export', chest.file, '--log', ORG, '--to', to)).exit, 2, 'nothing is written over')
})

/** The file of an export that is tampered with, how, and what is found. */
const exported: readonly (readonly [string, (octets: Buffer) => Buffer | null, RegExp])[] = [
  ['tile/entries/001', (octets) => flip(octets, 20), /leaf 256: its record was altered/],
  ['tile/0/001', (octets) => flip(octets, 32 * 7), /leaf 263: its stored hash was altered/],
  ['tile/1/000.p/2', (octets) => flip(octets, 32), /tile-altered.*leaves 256 to 511/],
  ['tile/entries/001', () => null, /gap.*leaves 256 to 511: missing/],
  ['tile/entries/002.p/88', () => null, /cut.*leaves 512 to 599: missing/],
  ['tile/entries/002.p/88', (octets) => octets.subarray(0, -3), /cut.*leaves 599|cut.*leaf 599/],
  ['tile/0/000', () => null, /tile-altered.*leaf 0: .*is missing/],
  ['checkpoint', (octets) => Buffer.from(octets.toString().replace('\n600\n', '\n599\n')), /checkpoint-unsigned/],
  ['checkpoint', () => Buffer.from('nothing'), /checkpoint-malformed/],
]

for (const [file, change, expected] of exported) {
  t.test(`an export whose ${file} was altered is found: ${expected.source}`, async (t) => {
    const chest = filled(t)
    const to = place()
    await run('export', chest.file, '--log', ORG, '--to', to)
    const octets = change(readFileSync(join(to, file)))
    if (octets === null) rmSync(join(to, file))
    else writeFileSync(join(to, file), octets)
    const { exit, out } = await run('verify', to)
    t.equal(exit, 1)
    t.match(out, expected)
  })
}

t.test('show tells one envelope’s life, and no address', async (t) => {
  const chest = filled(t)
  const { out } = await run('show', chest.file, '--log', ORG)
  t.equal(out.trimEnd().split('\n').length, 601)
  t.notMatch(out, /example\.org|192\.0\.2/)
  const [, envelope = ''] = /envelope=(\S+)/.exec(out) ?? []
  const life = (await run('show', chest.file, '--envelope', envelope)).out.trimEnd().split('\n')
  t.same(
    life.map((line) => line.trim().split(/\s+/)[2]),
    ['issued', 'confirmed', 'released'],
  )
})

t.test('checkpoint prints the latest, to be kept elsewhere', async (t) => {
  const chest = filled(t)
  const { exit, out } = await run('checkpoint', chest.file, '--log', ORG)
  t.equal(exit, 0)
  t.match(out, /^mail\.acme\.example\/log\/acme\.example\n600\n/)
})

t.test('a log that is made up as it is read, perhaps without end, is not read', async (t) => {
  const views = {
    counted: `create view log_leaf as with recursive n(i) as (select 0 union all select i + 1 from n)
      select 'acme.example' as log, i as idx, x'00' as hash, x'00' as record, null as side from n limit 5000`,
    generated: `create table log_leaf (log text, idx integer, record blob as (zeroblob(9)), hash blob, side blob)`,
  }
  for (const [what, made] of Object.entries(views)) {
    const file = place()
    const others = 'create table log_key (log, verifier); create table log_checkpoint (log, size, note, frontier);'
    new Database(file).exec(`${others} ${made}`).close()
    const { exit, err } = await run('verify', file)
    t.equal(exit, 2, what)
    t.match(err, /log_leaf is no table that keeps what was written/, what)
  }
})

t.test('what cannot be read, or was asked wrongly, is status 2 and a sentence', async (t) => {
  const chest = filled(t)
  const [text, empty] = [place(), place()]
  writeFileSync(text, 'not a database, but long enough to look at; '.repeat(100))
  new Database(empty).exec('create table other (a)').close()
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['verify', place()], /no such file/],
    [['verify', text], /cannot be read as a database/],
    [['verify', empty], /a database without logs/],
    [['verify', folder], /not an exported log/],
    [['verify', chest.file, '--log', 'other.example'], /there is acme\.example, server/],
    [['verify', chest.file, '--key', text], /neither a verifier key nor a file/],
    [['verify', chest.file, '--against', text], /not a signed checkpoint/],
    [['checkpoint', chest.file], /--log with one of acme\.example, server/],
    [['export', chest.file, '--log', ORG], /--to/],
    [['show', chest.file, '--json'], /--json does not go/],
    [['verify', chest.file, '--unheard-of'], /unheard-of/],
    [['verify'], /which database/],
    [['eat', chest.file], /verify, show, checkpoint or export/],
    [[], /verify, show, checkpoint or export/],
  ]
  for (const [argv, expected] of cases) {
    const { exit, out, err } = await run(...argv)
    t.equal(exit, 2, argv.join(' '))
    t.match(err, expected)
    t.equal(out, '')
  }
})

t.test('a file in which octets were flipped anywhere ends in a status, never in a crash', async (t) => {
  const chest = filled(t)
  chest.db.pragma('wal_checkpoint(truncate)')
  const whole = readFileSync(chest.file)
  const copy = place()
  for (let i = 0; i < 60; i++) {
    writeFileSync(copy, flip(whole, Math.floor((whole.length / 60) * i)))
    const { exit, out, err } = await run('verify', copy)
    t.ok(exit === 0 || exit === 1 || (exit === 2 && err !== ''), `octet ${i}: ${exit} ${out} ${err}`)
  }
})

function flip(octets: Buffer, at: number): Buffer {
  const altered = Buffer.from(octets)
  altered.writeUInt8(altered.readUInt8(at) ^ 1, at)
  return altered
}
