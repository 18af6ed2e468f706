import { join } from 'node:path'
import t from 'tap'
import { parseNote } from '../../audit/checkpoint.ts'
import { openLogDatabase } from '../../audit/sqlite.ts'
import { decodeFrontier, rootOf } from '../../audit/tree.ts'
import { verifyLog } from '../../audit/verify.ts'
import { createLogWriter } from '../../audit/writer.ts'
import { act, createChest, HOST, life, ORG, START } from './chest.ts'

const acts = (count: number) => Array.from({ length: count }, (_, i) => act(START, `act ${i}`))

t.test('leaves get their places in the order of their staging, in each log on its own', async (t) => {
  const writer = createLogWriter(HOST, new Map())
  const indices = [
    ...writer.stage(ORG, acts(2)),
    ...writer.stage('server', acts(1)),
    ...writer.stage(ORG, acts(1)),
  ].map(({ log, idx }) => `${log} ${idx}`)
  t.same(indices, [`${ORG} 0`, `${ORG} 1`, 'server 0', `${ORG} 2`])
  t.equal(writer.frontier(ORG).size, 0, 'and nothing is durable yet')
  writer.committed()
  t.same([writer.frontier(ORG).size, writer.frontier('server').size], [3, 1])
})

t.test('what was rolled back never was: its places are given again, and the tree is the same', async (t) => {
  const [one, other] = [createLogWriter(HOST, new Map()), createLogWriter(HOST, new Map())]
  one.stage(ORG, acts(3))
  one.committed()
  one.stage(ORG, acts(5))
  one.stage('server', acts(1))
  one.rolledBack()
  t.same(
    one.stage(ORG, acts(1)).map((row) => row.idx),
    [3],
  )
  one.committed()
  other.stage(ORG, acts(3))
  other.stage(ORG, acts(1))
  other.committed()
  t.same(rootOf(one.frontier(ORG)), rootOf(other.frontier(ORG)))
  t.equal(one.frontier('server').size, 0)
})

t.test('a checkpoint is made where there is news, once, over what is durable only', async (t) => {
  const chest = createChest(join(t.testdir({}), 'log.db'))
  t.teardown(() => chest.close())
  const { writer } = chest
  const key = chest.key(ORG)
  t.equal(writer.checkpoint(ORG, key), null)
  writer.stage(ORG, acts(2))
  t.equal(writer.checkpoint(ORG, key), null, 'staged is not durable')
  writer.committed()
  t.same(writer.uncovered(), [ORG])
  const row = writer.checkpoint(ORG, key)
  if (row === null) throw new Error('there is news')
  t.equal(parseNote(row.note)?.checkpoint.size, 2)
  t.same(writer.uncovered(), [ORG], 'until it is durable itself')
  writer.checkpointed(row)
  t.same(writer.uncovered(), [])
  t.equal(writer.checkpoint(ORG, key), null)
  writer.stage(ORG, acts(1))
  writer.committed()
  t.throws(() => writer.checkpoint(ORG, chest.key('other.example')), /must bear the name/)
})

t.test('a writer that starts again goes on where the last one stopped', async (t) => {
  const chest = createChest(join(t.testdir({}), 'log.db'))
  t.teardown(() => chest.close())
  chest.put(ORG, life(ORG, START))
  const row = chest.sign(ORG)
  const behind = chest.put(ORG, acts(3))
  const frontier = row === null ? null : decodeFrontier(row.frontier)
  if (frontier === null) throw new Error('there is a frontier')
  const again = createLogWriter(HOST, new Map([[ORG, { frontier, hashes: behind.map((leaf) => leaf.hash) }]]))
  t.same(rootOf(again.frontier(ORG)), rootOf(chest.writer.frontier(ORG)))
  t.same(again.uncovered(), [ORG])
  t.same(
    again.stage(ORG, acts(1)).map((leaf) => leaf.idx),
    [6],
  )
})

t.test('a database is read while it is written, and nothing is left behind', async (t) => {
  const chest = createChest(join(t.testdir({}), 'log.db'))
  t.teardown(() => chest.close())
  chest.put(ORG, life(ORG, START))
  chest.put('server', acts(1))
  chest.sign(ORG)
  const { logs, close } = openLogDatabase(chest.file)
  t.teardown(close)
  chest.put(ORG, acts(500))
  chest.sign(ORG)
  t.same(
    logs.map(({ log, size }) => `${log} ${size}`),
    [`${ORG} 3`, 'server 1'],
    'what was committed when it was opened, the -wal included',
  )
  const [log] = logs
  t.same(log === undefined ? null : verifyLog(log, { keys: null, against: [] }).faults, [])
})

t.test('five thousand leaves a second are written with room to spare', async (t) => {
  const writer = createLogWriter(HOST, new Map())
  const start = performance.now()
  for (let i = 0; i < 2000; i += 50) {
    writer.stage(ORG, Array.from({ length: 17 }, () => life(ORG, START)).flat())
    writer.committed()
  }
  const rate = writer.frontier(ORG).size / ((performance.now() - start) / 1000)
  t.comment(`${Math.round(rate)} leaves a second, with their people sealed`)
  t.ok(rate > 2500, 'half of it even on a machine that does other things')
})
