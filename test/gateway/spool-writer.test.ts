import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { GatewayError } from '../../gateway/error.ts'
import { newSpoolId, type SpoolEntry } from '../../gateway/spool-entry.ts'
import { openSpoolFolder, type SpoolFolder } from '../../gateway/spool-folder.ts'
import { parseAddress } from '../../protocol/identifiers.ts'
import { acme } from './sealed-mail.ts'

const STRACE = '/usr/bin/strace'
const bob = parseAddress('bob@example.org') ?? ('' as never)
const placeIn = (data: string) => ({ folder: join(data, 'spool'), keyFile: join(data, 'spool.key'), reserve: 0 })

function entryOf(size: number): SpoolEntry {
  return {
    ...{ id: newSpoolId(), kind: 'message', org: acme, envelope: null, sealed: null, sender: null },
    recipients: [{ address: bob, mailbox: bob, notify: null, orcpt: null }],
    ...{ wish: { ret: null, envid: null }, mail: { size, smtputf8: false, eightBit: false }, returned: '' },
    ...{ arrivedAt: new Date().toISOString(), intake: 'an intake' },
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}

async function whole(folder: SpoolFolder, id: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of folder.mail(id)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A program that puts mail in, says the id of each that is in, and removes every second one. */
async function writing(data: string, turns: number): Promise<string> {
  const here = (name: string) => JSON.stringify(new URL(`../../gateway/${name}`, import.meta.url).href)
  const path = join(data, 'writing.mjs')
  const program = `
    import { writeSync } from 'node:fs'
    import { openSpoolFolder } from ${here('spool-folder.ts')}
    import { newSpoolId } from ${here('spool-entry.ts')}
    const folder = await openSpoolFolder(${JSON.stringify(placeIn(data))})
    const entry = ${JSON.stringify(entryOf(0))}
    const removals = []
    for (let turn = 0; turn < ${turns}; turn++) {
      await Promise.all(Array.from({ length: 20 }, async (_, index) => {
        const id = newSpoolId()
        const octets = Buffer.alloc(index === 0 ? 300_000 : 500 * index, id)
        await folder.add({ ...entry, id }, (async function* () { yield octets })())
        writeSync(1, id + '\\n')
        if (index % 2 !== 0) return
        writeSync(1, id + ' goes\\n')
        removals.push(folder.remove(id))
      }))
    }
    await Promise.all(removals)`
  await writeFile(path, program)
  return path
}

t.test('what is put in side by side is there, whatever its size, and what is removed is gone', async (t) => {
  const data = t.testdir({})
  const folder = await openSpoolFolder(placeIn(data))
  const mails = [0, 1, 10_000, 262_143, 262_144, 262_145, 700_000, ...Array(40).fill(5_000)].map((size: number) => {
    return { entry: entryOf(size), octets: randomBytes(size) }
  })
  await Promise.all(mails.map(({ entry, octets }) => folder.add(entry, once(octets))))
  for (const { entry, octets } of mails) t.ok((await whole(folder, entry.id)).equals(octets), `${octets.length} octets`)
  const gone = mails.splice(5, 20)
  const more = Array.from({ length: 30 }, () => ({ entry: entryOf(3_000), octets: randomBytes(3_000) }))
  await Promise.all([
    ...gone.map(({ entry }) => folder.remove(entry.id)),
    ...more.map(({ entry, octets }) => folder.add(entry, once(octets))),
  ])
  const evenMore = Array.from({ length: 30 }, () => ({ entry: entryOf(100), octets: randomBytes(100) }))
  await Promise.all(evenMore.map(({ entry, octets }) => folder.add(entry, once(octets))))
  const all = [...mails, ...more, ...evenMore]
  for (const { entry, octets } of all) t.ok((await whole(folder, entry.id)).equals(octets), 'each is its own')
  await Promise.all([folder.close(), folder.close()])
  const names = await readdir(placeIn(data).folder)
  t.same(names.toSorted(), all.map(({ entry }) => entry.id).toSorted(), 'no draft is left')
})

t.test('a process that is killed at any instant: what it said to be in is there, whole', async (t) => {
  const data = t.testdir({})
  for (let kills = 0; kills < 4; kills++) {
    const child = spawn(process.execPath, [await writing(data, 1_000)], { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    child.stdout.on('data', (chunk) => {
      said += chunk
      if (said.length > 2_000 + kills * 3_000 + Math.random() * 2_000) child.kill('SIGKILL')
    })
    await new Promise((resolve) => child.on('close', resolve))
    const folder = await openSpoolFolder(placeIn(data))
    const there = new Set<string>()
    for await (const loaded of folder.load()) {
      t.equal(loaded.kind, 'entry', 'nothing is damaged')
      if (loaded.kind === 'entry') there.add(loaded.entry.id)
    }
    const lines = said.split('\n').slice(0, -1)
    const going = new Set(lines.filter((line) => line.endsWith(' goes')).map((line) => line.slice(0, 22)))
    const kept = lines.filter((line) => !going.has(line.slice(0, 22)))
    t.ok(kept.length > 20, `${kept.length} kept, ${going.size} removed`)
    t.same(
      kept.filter((id) => !there.has(id)),
      [],
    )
    for (const id of kept) {
      const octets = await whole(folder, id)
      if (!octets.equals(Buffer.alloc(octets.length, id))) t.fail(`${id} holds the octets of another`)
    }
    for (const id of there) await folder.remove(id)
    await folder.close()
    t.same(await readdir(placeIn(data).folder), [])
  }
})

t.test('a disk that is full fails who finds no room, and nobody else', async (t) => {
  const data = await mkdtemp(join(tmpdir(), 'spool-'))
  t.teardown(() => rm(data, { recursive: true }))
  const place = placeIn(data)
  await mkdir(place.folder)
  try {
    execFileSync('/usr/bin/mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'tmpfs', place.folder], {
      stdio: 'ignore',
    })
  } catch {
    t.pass('skipped: this account may not mount a small disk to fill')
    return
  }
  t.teardown(() => execFileSync('/usr/bin/umount', ['-l', place.folder]))
  const folder = await openSpoolFolder(place)
  const put = async (size: number) => {
    const entry = entryOf(size)
    const code = await folder.add(entry, once(randomBytes(size))).then(
      () => 'in',
      (error: unknown) => (error instanceof GatewayError ? error.code : String(error)),
    )
    return { id: entry.id, code, size }
  }
  const put1 = await Promise.all(Array.from({ length: 8 }, () => put(200_000)))
  t.same(new Set(put1.map(({ code }) => code)), new Set(['in', 'disk-full']))
  const kept = put1.filter(({ code }) => code === 'in')
  for (const { id, size } of kept) t.equal((await whole(folder, id)).length, size)
  t.same((await readdir(place.folder)).toSorted(), kept.map(({ id }) => id).toSorted(), 'no draft takes room')
  t.equal((await put(10_000)).code, 'in', 'what finds room goes in')
  for (const { id } of kept) await folder.remove(id)
  t.equal((await put(250_000)).code, 'in')
  await folder.close()
})

t.test('fsynced, then named, then the folder fsynced, and only then said to be in', async (t) => {
  if (!existsSync(STRACE)) {
    t.pass('skipped: there is no strace')
    return
  }
  const data = t.testdir({})
  const log = join(data, 'calls')
  const calls = ['-f', '-y', '-s', '64', '-e', 'trace=fsync,rename,renameat,renameat2,write,pwrite64', '-o', log]
  const child = spawn(STRACE, [...calls, process.execPath, await writing(data, 5)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await new Promise((resolve) => child.on('close', resolve))
  const { judged, faults, again } = judge(await readFile(log, 'utf8'), placeIn(data).folder)
  t.ok(judged > 40, `${judged} mails`)
  t.ok(again > 0, `${again} in files that served before`)
  t.same(faults, [])
})

/** Goes through the calls in the order in which they ended, and for what must come before another in which that began. */
function judge(log: string, folder: string) {
  const synced = new Set<string>()
  const named = new Map<string, 'named' | 'durable'>()
  const begun = new Map<string, { call: string; waiting: string[] }>()
  const faults: string[] = []
  let [judged, again] = [0, 0]
  const quoted = (call: string) => [...call.matchAll(/"([^"]*)"/g)].map(([, text]) => text ?? '')
  const within = (path: string) => (path.startsWith(`${folder}/`) ? path.slice(folder.length + 1) : null)
  const pathOf = (call: string) => /<([^>]*)>/.exec(call)?.[1] ?? ''
  const starts = (pid: string, call: string) => {
    const waiting = [...named].flatMap(([id, state]) => (state === 'named' ? [id] : []))
    begun.set(pid, { call, waiting })
    const name = within(pathOf(call))
    // Whatever is written makes the last fsync void.
    if (/^p?write/.test(call) && name !== null) synced.delete(name)
    const id = /^write\(1<.*"([0-9a-f]{22})\\n"/.exec(call)?.[1]
    if (id === undefined) return
    judged += 1
    if (named.get(id) !== 'durable') faults.push(`${id} is said to be in, and is ${named.get(id) ?? 'not there'}`)
  }
  const ends = ({ call, waiting }: { call: string; waiting: string[] }) => {
    const path = pathOf(call)
    if (call.startsWith('fsync') && path === folder) for (const id of waiting) named.set(id, 'durable')
    if (call.startsWith('fsync')) synced.add(within(path) ?? '')
    if (!call.startsWith('rename')) return
    const [from = '', to = ''] = quoted(call).map((one) => within(one) ?? '')
    if (!/^[0-9a-f]{22}$/.test(to)) {
      if (named.get(from) === undefined) return
      named.delete(from)
      again += 1
      return
    }
    if (!synced.has(from)) faults.push(`${from} was named before it was fsynced`)
    named.set(to, 'named')
  }
  for (const line of log.split('\n')) {
    const [, pid = '', call = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (call === '' || call.startsWith('+++') || call.startsWith('---')) continue
    if (!call.startsWith('<...')) starts(pid, call)
    const one = begun.get(pid)
    if (one === undefined || !/= \d+$/.test(call)) continue
    ends(one)
    begun.delete(pid)
  }
  return { judged, faults, again }
}
