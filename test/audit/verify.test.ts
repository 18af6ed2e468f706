import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { parseNote, signCheckpoint, signerKey } from '../../audit/checkpoint.ts'
import { newPseudonym } from '../../audit/personal.ts'
import { decodeLeaf, encodeLeaf } from '../../audit/record.ts'
import { openLogDatabase } from '../../audit/sqlite.ts'
import { decodeFrontier, encodeFrontier, leafHash, rootOf } from '../../audit/tree.ts'
import { type LogReport, type VerifyOptions, verifyLog } from '../../audit/verify.ts'
import type { LeafRow } from '../../audit/writer.ts'
import { act, type Chest, createChest, ending, iso, life, ORG, START } from './chest.ts'

type Tearing = { teardown(undo: () => void): void }

let folders = 0
const folder = t.testdir({})

/** Forty leaves, a checkpoint after every ten. */
function filled(t: Tearing): Chest {
  const chest = createChest(join(folder, `${folders++}.db`))
  t.teardown(() => chest.close())
  for (let i = 0; i < 40; i += 10) {
    chest.put(ORG, [...life(ORG, START + i, 4), ...Array.from({ length: 4 }, (_, j) => act(START + i + j))])
    chest.sign(ORG)
  }
  return chest
}

function look(chest: Chest, options: Partial<VerifyOptions> = {}, log = ORG): LogReport {
  const { logs, close } = openLogDatabase(chest.file)
  try {
    const source = logs.find((one) => one.log === log)
    if (source === undefined) throw new Error(`no log ${log}`)
    return verifyLog(source, { keys: [chest.key(log)], against: [], ...options })
  } finally {
    close()
  }
}

const found = (report: LogReport): readonly string[] =>
  report.faults.map(({ kind, from, to }) => (from === null ? kind : `${kind} ${from}-${to}`))

const row = (chest: Chest, idx: number): LeafRow => {
  const leaf = chest.db.prepare<[number], LeafRow>('select * from log_leaf where idx = ?').get(idx)
  if (leaf === undefined) throw new Error(`no leaf ${idx}`)
  return leaf
}

/** Another record at the same place, as valid as the first. */
function otherRecord(chest: Chest, idx: number): Uint8Array {
  const decoded = decodeLeaf(row(chest, idx).record)
  if (decoded.kind !== 'leaf') throw new Error('not a leaf')
  const { record, index, side } = decoded.leaf
  return encodeLeaf({ ...record, request: newPseudonym() }, index, side)
}

function set(chest: Chest, idx: number, columns: Partial<LeafRow>): void {
  for (const [column, value] of Object.entries(columns)) {
    chest.db.prepare(`update log_leaf set ${column} = ? where idx = ?`).run(value, idx)
  }
}

const flip = (octets: Uint8Array, at = 0): Uint8Array =>
  Buffer.from(octets).map((octet, i) => (i === at ? octet ^ 1 : octet))

function swap(chest: Chest, a: number, b: number): void {
  const [first, second] = [row(chest, a), row(chest, b)]
  for (const [idx, { record, hash, side }] of [[a, second] as const, [b, first] as const])
    set(chest, idx, { record, hash, side })
}

const noteAt = (chest: Chest, size: number): string =>
  String(chest.db.prepare('select note from log_checkpoint where size = ?').pluck().get(size))

const kept = (chest: Chest, size: number) => [parseNote(noteAt(chest, size))].filter((note) => note !== null)

t.test('an untouched log is verified, also against every earlier checkpoint of its own', async (t) => {
  const chest = filled(t)
  const report = look(chest, { against: [10, 20, 30, 40].flatMap((size) => kept(chest, size)) })
  t.same(report.faults, [])
  t.match(report, { log: ORG, leaves: 40, checkpoints: 4, covered: 40, keysFrom: 'given', moreFaults: 0 })
  t.same(report.root, rootOf(chest.writer.frontier(ORG)))
  t.equal(look(chest, { keys: null }).keysFrom, 'recorded')
})

t.test('leaves behind the last checkpoint are no fault, and are counted', async (t) => {
  const chest = filled(t)
  chest.put(ORG, [act(START + 41)])
  t.match(look(chest), { leaves: 41, covered: 40, faults: [] })
})

t.test('a record is not written anew by taking away the checkpoints behind it', async (t) => {
  const chest = filled(t)
  chest.put(ORG, [act(START + 41), act(START + 3_600_000)])
  chest.sign(ORG)
  t.same(look(chest).faults, [])
  chest.db.exec('delete from log_checkpoint where size > 40')
  const record = otherRecord(chest, 41)
  set(chest, 41, { record, hash: leafHash(record) })
  t.same(found(look(chest)), ['unsigned 40-41'])
  t.match(look(chest).faults[0]?.text, /60 minutes.*taken away/)
})

t.test('sealed values that were taken away leave the log whole', async (t) => {
  const chest = filled(t)
  chest.db.exec('update log_leaf set side = null')
  t.same(look(chest).faults, [])
})

/** What was done, what to it, and what is found: kind and leaves. */
const tampers: readonly (readonly [string, (chest: Chest) => void, readonly string[]])[] = [
  [
    'an octet of a record is flipped',
    (c) => set(c, 13, { record: flip(row(c, 13).record, 30) }),
    ['leaf-altered 13-13'],
  ],
  ['a record is exchanged for a valid one', (c) => set(c, 13, { record: otherRecord(c, 13) }), ['leaf-altered 13-13']],
  ['a stored hash is flipped', (c) => set(c, 13, { hash: flip(row(c, 13).hash) }), ['leaf-altered 13-13']],
  [
    'a record and its hash are exchanged together',
    (c) => {
      const record = otherRecord(c, 13)
      set(c, 13, { record, hash: leafHash(record) })
    },
    ['root-differs 10-15'],
  ],
  [
    'two of them, far apart',
    (c) => {
      for (const idx of [3, 37]) {
        const record = otherRecord(c, idx)
        set(c, idx, { record, hash: leafHash(record) })
      }
    },
    ['root-differs 0-7', 'root-differs 32-39'],
  ],
  ['a row is dropped', (c) => c.db.exec('delete from log_leaf where idx = 17'), ['gap 17-17']],
  [
    'rows over a checkpoint are dropped',
    (c) => c.db.exec('delete from log_leaf where idx between 17 and 22'),
    ['gap 17-22'],
  ],
  [
    'a row is dropped, and another altered three checkpoints later',
    (c) => {
      c.db.exec('delete from log_leaf where idx = 2')
      set(c, 37, { record: otherRecord(c, 37) })
    },
    ['gap 2-2', 'leaf-altered 37-37'],
  ],
  ['the first row is dropped', (c) => c.db.exec('delete from log_leaf where idx = 0'), ['gap 0-0']],
  ['the last row is dropped', (c) => c.db.exec('delete from log_leaf where idx = 39'), ['cut 39-39']],
  [
    'a row is dropped and the others moved up',
    (c) => {
      c.db.exec('delete from log_leaf where idx = 37')
      c.db.exec('update log_leaf set idx = idx - 1 where idx > 37')
    },
    ['leaf-moved 37-37', 'leaf-moved 38-38', 'cut 39-39'],
  ],
  ['two are reordered', (c) => swap(c, 17, 18), ['leaf-moved 17-17', 'leaf-moved 18-18', 'root-differs 16-19']],
  [
    'a row is put in before the first',
    (c) => c.db.exec('insert into log_leaf select log, -1, hash, record, side from log_leaf where idx = 5'),
    ['disorder -1--1'],
  ],
  [
    'sealed values are altered',
    (c) => set(c, 11, { side: flip(row(c, 11).side ?? Buffer.alloc(1)) }),
    ['side-altered 11-11'],
  ],
  [
    'a signature is flipped',
    (c) => rewriteNote(c, 20, (note) => note.replace(/.{5}=\n$/, 'AAAAA=\n')),
    ['checkpoint-unsigned'],
  ],
  [
    'a checkpoint says another size',
    (c) => rewriteNote(c, 20, (note) => note.replace('\n20\n', '\n21\n')),
    ['checkpoint-malformed'],
  ],
  [
    'a checkpoint is filed elsewhere',
    (c) => c.db.exec('update log_checkpoint set size = 21 where size = 20'),
    ['checkpoint-malformed'],
  ],
  [
    'a checkpoint is signed by another key',
    (c) => rewriteNote(c, 20, (note) => resigned(c, note)),
    ['checkpoint-unsigned'],
  ],
  ['a checkpoint is no text of one', (c) => rewriteNote(c, 20, () => 'gone'), ['checkpoint-malformed']],
  ['a frontier is altered', (c) => rewriteFrontier(c, 20), ['checkpoint-altered']],
  ['all checkpoints are taken away', (c) => c.db.exec('delete from log_checkpoint'), ['no-checkpoint']],
  ['all leaves are taken away', (c) => c.db.exec('delete from log_leaf'), ['cut 0-39']],
]

for (const [what, tamper, expected] of tampers) {
  t.test(`it is found and named when ${what}`, async (t) => {
    const chest = filled(t)
    tamper(chest)
    const report = look(chest)
    t.same(found(report), expected)
    t.ok(report.faults.every((fault) => fault.log === ORG && fault.text !== ''))
  })
}

t.test('of a leaf and its hash the one that was altered is told', async (t) => {
  const [record, hash] = [filled(t), filled(t)]
  set(record, 13, { record: otherRecord(record, 13) })
  t.match(look(record).faults, [
    { text: 'leaf 13: its record was altered; the stored hash is the one that was signed' },
  ])
  set(hash, 13, { hash: flip(row(hash, 13).hash) })
  t.match(look(hash).faults, [{ text: 'leaf 13: its stored hash was altered; the record is the one that was signed' }])
})

t.test('a roll-back is consistent in itself, and found with a checkpoint that was kept', async (t) => {
  const chest = filled(t)
  const notes = kept(chest, 30)
  chest.db.exec('delete from log_leaf where idx >= 20; delete from log_checkpoint where size > 20')
  t.same(found(look(chest)), [])
  t.same(found(look(chest, { against: notes })), ['rolled-back 20-29'])
})

t.test('a log that was written anew with its own key is found with a checkpoint that was kept', async (t) => {
  const chest = filled(t)
  const notes = kept(chest, 20)
  const other = filled(t)
  t.same(found(look(other, { against: notes })), ['earlier-checkpoint-unusable'], 'signed by another key')
  const forged = signCheckpoint({ ...(notes[0]?.checkpoint ?? fail()), size: 20 }, other.key(ORG))
  t.same(found(look(other, { against: [parseNote(forged) ?? fail()] })), ['rewritten 0-19'])
})

t.test('keys of another log, or none, are not enough', async (t) => {
  const chest = filled(t)
  t.same(found(look(chest, { keys: [chest.key('other.example')] })).slice(0, 1), ['no-key'])
  chest.db.exec("update log_key set verifier = 'x'")
  t.same(found(look(chest, { keys: null })).slice(0, 2), ['no-key', 'no-key'])
  t.same(found(look(chest)), [], 'a key that is given does not ask what is recorded')
})

const rulesOf = (t: Tearing, entries: Parameters<Chest['put']>[1]): readonly string[] => {
  const chest = createChest(join(folder, `${folders++}.db`))
  t.teardown(() => chest.close())
  chest.put(ORG, entries)
  chest.sign(ORG)
  return found(look(chest))
}

t.test('a release after revocation, expiry or shredding is found', async (t) => {
  for (const kind of ['revoked', 'expired', 'shredded'] as const) {
    const envelope = newPseudonym()
    const [issue, confirm, release] = life(ORG, START, 1, envelope)
    if (issue === undefined || confirm === undefined || release === undefined) throw new Error('no life')
    const end = ending(kind, envelope, START)
    t.same(rulesOf(t, [issue, confirm, release, end]), [], `${kind} after the release`)
    t.same(rulesOf(t, [issue, confirm, end, release]), ['rule-broken 3-3'], `release after ${kind}`)
    t.same(rulesOf(t, [issue, release, confirm]), ['rule-broken 1-1'], 'unconfirmed')
    t.same(rulesOf(t, [confirm, release]), ['rule-broken 1-1'], 'never issued')
    const late = { ...release, record: { ...release.record, time: '2030-02-01T00:00:00.000Z' } }
    t.same(rulesOf(t, [issue, confirm, late]), ['rule-broken 2-2'], 'after its time')
    t.same(rulesOf(t, [...life(ORG, START), end, ...life(ORG, START)]), [], 'another envelope')
  }
})

t.test('a release of what is held, or was sent back, is found; let go, it opens until the new end', async (t) => {
  const envelope = newPseudonym()
  const [issue, confirm, release] = life(ORG, START, 1, envelope)
  if (issue === undefined || confirm?.record.kind !== 'confirmed' || release === undefined) throw new Error('no life')
  const { kind: _, ...who } = confirm.record
  const copy = { digest: 'A'.repeat(43), sealedSize: 2000, plainSize: 1000 }
  const until = iso(START + 3_600_000)
  const held = { ...confirm, record: { ...who, kind: 'held', copy, until } } as const
  const head = { time: iso(START), request: null, envelope }
  const by = { role: 'officer', person: null, name: 'officer1' } as const
  const expiresAt = '2031-01-01T00:00:00.000Z'
  const letGo = { record: { ...head, kind: 'let-go', by, reason: 'fine', expiresAt } } as const
  const returned = { record: { ...head, kind: 'returned', by, reason: 'not fine' } } as const
  t.same(rulesOf(t, [issue, held, release]), ['rule-broken 2-2'], 'held')
  t.same(rulesOf(t, [issue, held, returned, release]), ['rule-broken 3-3'], 'sent back')
  t.same(rulesOf(t, [issue, held, letGo, confirm, release]), [], 'let go')
  t.same(rulesOf(t, [issue, held, letGo, release]), ['rule-broken 3-3'], 'let go and never delivered')
  const late = { ...release, record: { ...release.record, time: '2030-06-01T00:00:00.000Z' } }
  t.same(rulesOf(t, [issue, held, letGo, confirm, late]), [], 'its time began when it was let go')
})

t.test(
  'times that run back are found, unless the log says that the clock did; a release never runs back',
  async (t) => {
    const clock = (at: number) => {
      const time = new Date(at).toISOString()
      return { record: { kind: 'clock', time, request: null, state: 'behind', observed: time, highest: time } } as const
    }
    const day = 86_400_000
    t.same(rulesOf(t, [act(START), act(START - 59_000)]), [], 'side by side')
    t.same(rulesOf(t, [act(START), act(START - day), act(START)]), ['time-runs-back 1-1'])
    t.same(rulesOf(t, [act(START), clock(START - day), act(START - day)]), [])
    t.same(rulesOf(t, [act(START), clock(START - day), ...life(ORG, START - day)]), ['time-runs-back 4-4'])
  },
)

type Step = { readonly leaves: number; readonly sign: boolean }
const program = fc.array(fc.record({ leaves: fc.integer({ min: 1, max: 12 }), sign: fc.boolean() }), {
  minLength: 1,
  maxLength: 12,
})

/** Every way of tampering that is worth trying anywhere: each changes what was signed, or what vouches for it. */
const anywhere: Readonly<Record<string, (chest: Chest, idx: number) => void>> = {
  record: (c, idx) => set(c, idx, { record: flip(row(c, idx).record, idx % row(c, idx).record.length) }),
  hash: (c, idx) => set(c, idx, { hash: flip(row(c, idx).hash, idx % 32) }),
  both: (c, idx) => {
    const record = otherRecord(c, idx)
    set(c, idx, { record, hash: leafHash(record) })
  },
  drop: (c, idx) => void c.db.prepare('delete from log_leaf where idx = ?').run(idx),
  cut: (c, idx) => void c.db.prepare('delete from log_leaf where idx >= ?').run(idx),
  close: (c, idx) => {
    c.db.prepare('delete from log_leaf where idx = ?').run(idx)
    c.db.prepare('update log_leaf set idx = -idx where idx > ?').run(idx)
    c.db.prepare('update log_leaf set idx = -idx - 1 where idx < 0').run()
  },
  exchange: (c, idx) => swap(c, idx, idx === 0 ? 1 : idx - 1),
  note: (c) => c.db.exec("update log_checkpoint set note = replace(note, 'mail', 'nail')"),
}

t.test('whatever is written is verified, and whatever is then tampered with is found', async (t) => {
  fc.assert(
    fc.property(program, fc.constantFrom(...Object.keys(anywhere)), fc.nat(), (steps: readonly Step[], way, pick) => {
      const chest = createChest(join(folder, `${folders++}.db`))
      try {
        for (const { leaves, sign } of steps) {
          chest.put(
            ORG,
            Array.from({ length: leaves + 1 }, () => act(START)),
          )
          if (sign) chest.sign(ORG)
        }
        chest.sign(ORG)
        const before = look(chest)
        anywhere[way]?.(chest, pick % before.leaves)
        return before.faults.length === 0 && look(chest).faults.length > 0
      } finally {
        chest.close()
      }
    }),
    { numRuns: 120 },
  )
  t.ok(folders > 120)
})

function rewriteNote(chest: Chest, size: number, change: (note: string) => string): void {
  chest.db.prepare('update log_checkpoint set note = ? where size = ?').run(change(noteAt(chest, size)), size)
}

function rewriteFrontier(chest: Chest, size: number): void {
  const read = chest.db.prepare<[number], Buffer>('select frontier from log_checkpoint where size = ?').pluck()
  const frontier = decodeFrontier(read.get(size) ?? Buffer.alloc(0)) ?? fail()
  const octets = encodeFrontier({ ...frontier, nodes: frontier.nodes.map((node) => flip(node)) })
  chest.db.prepare('update log_checkpoint set frontier = ? where size = ?').run(octets, size)
}

function resigned(chest: Chest, note: string): string {
  const { checkpoint } = parseNote(note) ?? fail()
  return signCheckpoint(checkpoint, signerKey(chest.key(ORG).name, Buffer.alloc(32, 9)))
}

function fail(): never {
  throw new Error('the test is wrong')
}
