import { copyFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { signerKey } from '../../audit/checkpoint.ts'
import { createBatch } from '../../keyserver/batch.ts'
import { openSqliteStore } from '../../keyserver/store-sqlite.ts'
import { openWalFlush } from '../../keyserver/wal-flush.ts'
import { newEnvelope, start, storeContract } from './store-contract.ts'

const host = 'open.acme.example'
const signing = (origin: string) => signerKey(origin, new Uint8Array(32).fill(7))

async function open(t: Test, file = join(t.testdir(), 'store.sqlite')) {
  const store = await openSqliteStore({ file, host })
  t.teardown(() => store.close())
  return store
}

storeContract(t, (t) => open(t))

t.test('works that arrive together share one commit', async (t) => {
  const seen: string[] = []
  const batch = createBatch<string>(
    async () => {
      seen.push('start')
      return {
        tx: 'tx',
        begin: async () => void seen.push('begin'),
        keep: async () => void seen.push('keep'),
        undo: async () => void seen.push('undo'),
        commit: async () => void seen.push('commit'),
        rollback: async () => void seen.push('rollback'),
      }
    },
    (cause) => cause,
  )
  const works = [1, 2, 3].map((one) =>
    batch.run(async () => {
      if (one === 2) throw new Error('no')
      return one
    }),
  )
  t.match(await Promise.allSettled(works), [{ value: 1 }, { reason: { message: 'no' } }, { value: 3 }])
  t.strictSame(seen, ['start', 'begin', 'keep', 'begin', 'undo', 'begin', 'keep', 'commit'])
  await batch.idle()
})

t.test('nobody is told of success before the commit, and all hear of its failure', async (t) => {
  const batch = createBatch<null>(
    async () => ({
      tx: null,
      begin: async () => undefined,
      keep: async () => undefined,
      undo: async () => undefined,
      commit: async () => {
        throw new Error('disk full')
      },
      rollback: async () => undefined,
    }),
    (cause) => cause,
  )
  const results = await Promise.allSettled([batch.run(async () => 1), batch.run(async () => 2)])
  t.match(results, [{ reason: { message: 'disk full' } }, { reason: { message: 'disk full' } }])
})

t.test('a disk that once did not confirm is not believed again', async (t) => {
  const file = join(t.testdir({ 'store.sqlite': '', 'store.sqlite-wal': 'frames' }), 'store.sqlite')
  const wal = await openWalFlush(file)
  await wal.flush()
  await wal.check()
  await wal.close()
  await t.rejects(wal.flush(), { code: 'unavailable' })
  await t.rejects(wal.check(), { message: /start the key server anew/ })
  await t.rejects(wal.flush(), { code: 'unavailable' })
})

t.test('a database that is moved away, replaced or lost while it is open takes no more works', async (t) => {
  const acts: Record<string, (file: string) => void> = {
    moved: (file) => renameSync(file, `${file}.old`),
    replaced: (file) => {
      copyFileSync(file, `${file}.copy`)
      renameSync(`${file}.copy`, file)
    },
    'rid of its log': (file) => rmSync(`${file}-wal`),
  }
  for (const [name, act] of Object.entries(acts)) {
    const file = join(t.testdir(), 'store.sqlite')
    const store = await open(t, file)
    await store.transact((tx) => tx.envelopes.add(newEnvelope()))
    await store.ping()
    act(file)
    await t.rejects(store.ping(), { message: /moved, removed or replaced.*stop the key server/ }, name)
    await t.rejects(
      store.transact((tx) => tx.envelopes.add(newEnvelope())),
      { code: 'unavailable' },
      name,
    )
  }
})

t.test('the log has no gap after works that failed, and goes on after a restart', async (t) => {
  const file = join(t.testdir(), 'store.sqlite')
  const first = await openSqliteStore({ file, host })
  await first.transact(async (tx) => tx.audit.append('server', { record: start('1') }))
  await t.rejects(
    first.transact(async (tx) => {
      tx.audit.append('server', { record: start('2') })
      throw new Error('no')
    }),
  )
  await first.checkpoint(signing)
  await first.transact(async (tx) => tx.audit.append('server', { record: start('3') }))
  await first.close()
  const second = await open(t, file)
  await second.transact(async (tx) => tx.audit.append('server', { record: start('4') }))
  await second.checkpoint(signing)
  await second.checkpoint(signing)
  const database = new Database(file, { readonly: true })
  const leaves = database.prepare<[], { idx: number }>('select idx from log_leaf order by idx').all()
  const sizes = database.prepare<[], { size: number }>('select size from log_checkpoint order by size').all()
  database.close()
  t.strictSame(
    leaves.map(({ idx }) => idx),
    [0, 1, 2],
  )
  t.strictSame(
    sizes.map(({ size }) => size),
    [1, 3],
    'a checkpoint only where there is news',
  )
})

t.test('a database that cannot be written answers unavailable, and works again when it can', async (t) => {
  const store = await open(t)
  await t.rejects(
    store.transact(async () => {
      throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
    }),
    { code: 'unavailable', retryAfter: 5 },
  )
  await store.transact((tx) => tx.envelopes.add(newEnvelope()))
})

t.test('what it writes is for its own user alone, whatever folder it lies in', async (t) => {
  const file = join(t.testdir(), 'store.sqlite')
  const store = await open(t, file)
  await store.transact((tx) => tx.envelopes.add(newEnvelope()))
  for (const name of [file, `${file}-wal`, `${file}-shm`]) t.equal(statSync(name).mode & 0o777, 0o600, name)
})

t.test('what is no database of ours is refused in plain words', async (t) => {
  const file = join(t.testdir(), 'notes.txt')
  writeFileSync(file, 'these are notes and no database at all '.repeat(100))
  await t.rejects(openSqliteStore({ file, host }), { code: 'unavailable', message: /notes\.txt cannot be opened/ })
})
