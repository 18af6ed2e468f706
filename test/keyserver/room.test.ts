import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createRoom } from '../../keyserver/room.ts'
import { openSqliteStore } from '../../keyserver/store-sqlite.ts'

const MIB = 1024 ** 2
/** More than any disk has. */
const ALL = 2 ** 53 - 1 - MIB

t.test('where less is free than is to be kept, ordinary works are refused and all others are not', async (t) => {
  const file = join(t.testdir(), 'keyserver.sqlite')
  const room = createRoom({ database: file, keepFree: ALL, reserve: MIB })
  const store = await openSqliteStore({ file, host: 'open.acme.example', room })
  t.teardown(() => store.close())
  await store.transact((tx) => tx.meta.set('kek', 'before the first look'))
  await room.look()
  t.match(room.state(), { kind: 'short', because: /MiB are free in .*make room/ })
  t.notOk(room.hasReserve(), 'and no reserve takes what little is there')
  await t.rejects(
    store.transact((tx) => tx.meta.set('kek', 'ordinary')),
    { code: 'unavailable', retryAfter: 60 },
  )
  t.throws(() => store.requireRoom(), { code: 'unavailable' })
  await store.transact((tx) => tx.meta.set('kek', 'upkeep'), 'upkeep')
  await store.transact((tx) => tx.meta.set('kek', 'urgent'), 'urgent')
  t.equal(await store.read((reads) => reads.meta.get('kek')), 'urgent')
})

t.test('a reserve that was given up keeps ordinary works away until it is made again', async (t) => {
  const file = join(t.testdir(), 'keyserver.sqlite')
  const room = createRoom({ database: file, keepFree: 0, reserve: MIB + 1 })
  await Promise.all([room.look(), room.look()])
  t.equal(statSync(`${file}.reserve`).size, MIB + 1)
  t.ok(statSync(`${file}.reserve`).blocks * 512 > MIB, 'it takes the room that it says')
  t.match(room.state(), { kind: 'good' })
  room.spend()
  t.notOk(existsSync(`${file}.reserve`))
  t.match(room.state(), { kind: 'short', because: /reserve/ })
  await room.look()
  t.ok(room.hasReserve())
  t.match(room.state(), { kind: 'good' })
})

t.test('a reserve that somebody removed, or of another size, is made again', async (t) => {
  const file = join(t.testdir({ 'keyserver.sqlite.reserve': 'cut' }), 'keyserver.sqlite')
  const room = createRoom({ database: file, keepFree: 0, reserve: MIB })
  t.notOk(room.hasReserve())
  await room.look()
  t.ok(room.hasReserve())
  rmSync(`${file}.reserve`)
  await room.look()
  t.ok(room.hasReserve())
})
