import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createSpoolDisk } from '../../gateway/spool-disk.ts'
import { spoolLanes } from '../../gateway/spool-lanes.ts'
import { createSpoolLine } from '../../gateway/spool-line.ts'

const file = (name: string, text: string, durable = true) => ({ name, octets: Buffer.from(text), durable })
const nothing = { files: [], removed: [] }

t.test('one that cannot be written fails alone, and leaves nothing', async (t) => {
  const folder = t.testdir({})
  const disk = createSpoolDisk({ folder, draft: '.draft-', head: 6 })
  await mkdir(join(folder, 'taken', 'by', 'folders'), { recursive: true })
  const { files } = await disk.carryOut({ files: [file('a', '1'), file('taken', '2'), file('b', '3')], removed: [] })
  t.match(files, [null, { code: /EISDIR|ENOTEMPTY|EEXIST/ }, null])
  t.same((await readdir(folder)).toSorted(), ['a', 'b', 'taken'])
  const outside = await disk.carryOut({ files: [file('no/such/folder', '1'), file('c', '4')], removed: ['b', 'gone'] })
  t.match(outside, { files: [{ code: 'ENOENT' }, null], removed: [null, null] }, 'what is gone is removed already')
  t.equal(await readFile(join(folder, 'c'), 'utf8'), '4')
  t.equal(await readFile(join(folder, 'a'), 'utf8'), '1')
})

t.test('a removed file serves again, but not before the folder is on the disk', async (t) => {
  const folder = t.testdir({})
  const disk = createSpoolDisk({ folder, draft: '.draft-', head: 6 })
  const inode = async (name: string) => (await stat(join(folder, name))).ino
  await disk.carryOut({ files: [file('a', 'the longest of all of them')], removed: [] })
  const first = await inode('a')
  await disk.carryOut({ files: [file('b', 'b')], removed: ['a'] })
  t.not(await inode('b'), first)
  const [kept = ''] = (await readdir(folder)).filter((name) => name.startsWith('.draft-'))
  t.equal(await readFile(join(folder, kept), 'utf8'), '\0\0\0\0\0\0ngest of all of them', 'kept, but without its head')
  await disk.carryOut({ files: [file('c', 'shorter')], removed: [] })
  t.equal(await inode('c'), first)
  t.equal(await readFile(join(folder, 'c'), 'utf8'), 'shorter', 'with nothing left of what was in it')
  t.equal((await stat(join(folder, 'c'))).mode & 0o777, 0o600)

  const few = ['m1', 'm2', 'm3', 'm4']
  await disk.carryOut({ files: few.map((name) => file(name, name)), removed: [] })
  const inodes = await Promise.all(few.map(inode))
  await disk.carryOut({ files: [], removed: few })
  const drafts = async () => (await readdir(folder)).filter((name) => name.startsWith('.draft-'))
  t.equal((await drafts()).length, 4, 'also where nothing is written')
  await disk.carryOut({ files: [file('n0', 'after them')], removed: [] })
  t.notOk(inodes.includes(await inode('n0')))
  await disk.carryOut({ files: [file('n1', 'after that')], removed: [] })
  t.ok(inodes.includes(await inode('n1')), 'which serve once the folder is on the disk')
  for (const name of await drafts())
    t.match(await readFile(join(folder, name), 'utf8'), /^\0+$/, 'as none of them says')
  t.ok(disk.tidy())

  await disk.carryOut({ files: [], removed: ['b', 'n0', 'n1'] })
  await disk.carryOut({ files: [file('d.state', 'known elsewhere', false)], removed: ['c'] })
  t.equal((await drafts()).length, 4, 'no fsync is made for these alone')
  disk.sweep()
  t.same((await readdir(folder)).toSorted(), ['d.state'])
  const large = { ...file('e', ''), octets: Buffer.alloc(70_000) }
  await disk.carryOut({ files: [large], removed: [] })
  await disk.carryOut({ files: [file('f', 'f')], removed: ['e'] })
  t.same((await readdir(folder)).toSorted(), ['d.state', 'f'], 'nor a large one')
})

t.test('what is kept for further use is bounded, and goes when it is tidied', async (t) => {
  const folder = t.testdir({})
  const disk = createSpoolDisk({ folder, draft: '.draft-', head: 6 })
  const names = Array.from({ length: 1200 }, (_, index) => `n${index}`)
  const large = (name: string) => ({ ...file(name, ''), octets: Buffer.alloc(60_000) })
  await disk.carryOut({ files: names.map(large), removed: [] })
  const { removed } = await disk.carryOut({ files: [file('last', '')], removed: names })
  t.ok(removed.every((fault) => fault === null))
  const kept = (await readdir(folder)).length - 1
  t.ok(kept * 60_000 > 62 * 1024 ** 2 && kept * 60_000 <= 64 * 1024 ** 2, `${kept} of them`)
  let turns = 1
  while (!disk.tidy()) turns += 1
  t.ok(turns > 10, 'a few at a time')
  t.same(await readdir(folder), ['last'])
  t.same(await disk.carryOut(nothing), { files: [], removed: [] })
})

t.test('deliveries make way for clients that wait, down to a quarter', (t) => {
  t.equal(spoolLanes(20, 0), 15)
  t.equal(spoolLanes(20, 4), 11)
  t.equal(spoolLanes(20, 10), 5)
  t.equal(spoolLanes(20, 10_000), 5)
  t.equal(spoolLanes(1, 10_000), 1, 'there is always one')
  t.end()
})

t.test('a stream of clients that never ends starves no delivery', async (t) => {
  let active = 0
  let most = 0
  let done = 0
  const line = createSpoolLine<number>({
    lanes: () => spoolLanes(8, 1_000),
    allows: () => true,
    async run() {
      active += 1
      most = Math.max(most, active)
      await new Promise((resolve) => setImmediate(resolve))
      active -= 1
      done += 1
    },
  })
  for (let item = 0; item < 100; item++) line.push('org', item)
  for (let turns = 0; turns < 1_000 && done < 100; turns++) await new Promise((resolve) => setImmediate(resolve))
  t.equal(done, 100)
  t.equal(most, 2)
  await line.close()
})
