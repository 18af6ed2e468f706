import { randomBytes } from 'node:crypto'
import { readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Fate } from '../../gateway/spool-attempt.ts'
import { firstState, newSpoolId, nextAttempt, type SpoolEntry } from '../../gateway/spool-entry.ts'
import { encodeSpoolFile, readSpoolMail, readSpoolMeta } from '../../gateway/spool-file.ts'
import { openSpoolFolder } from '../../gateway/spool-folder.ts'
import { spoolKeyOf } from '../../gateway/spool-key.ts'
import { settleSpooled } from '../../gateway/spool-settlement.ts'
import { parseAddress } from '../../protocol/identifiers.ts'
import { acme } from './sealed-mail.ts'

const key = spoolKeyOf(randomBytes(32))
const bob = parseAddress('bob@example.org') ?? ('' as never)
const eve = parseAddress('eve@example.org') ?? ('' as never)

async function* pieces(octets: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += length) yield octets.subarray(at, at + length)
}
async function whole(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
const entryOf = (size: number): SpoolEntry => ({
  ...{ id: newSpoolId(), kind: 'message', org: acme, envelope: null, sealed: null, sender: null },
  recipients: [{ address: bob, mailbox: bob, notify: null, orcpt: null }],
  ...{ wish: { ret: null, envid: null }, mail: { size, smtputf8: false, eightBit: false }, returned: '' },
  ...{ arrivedAt: new Date().toISOString(), intake: 'an intake' },
})

t.test('what is written is read again, whatever its size', async (t) => {
  const path = join(t.testdir({}), 'file')
  for (const size of [0, 1, 262_143, 262_144, 262_145, 1_000_000]) {
    const mail = randomBytes(size)
    await writeFile(path, await whole(encodeSpoolFile(key, 'name', { meta: { size }, mail: pieces(mail, 70_000) })))
    t.same(await readSpoolMeta(key, 'name', path), { size })
    t.ok((await whole(readSpoolMail(key, 'name', path))).equals(mail), `${size} octets`)
  }
})

t.test('a file that was altered, cut off, lengthened, renamed or is under another key is refused', async (t) => {
  const path = join(t.testdir({}), 'file')
  const good = await whole(encodeSpoolFile(key, 'name', { meta: {}, mail: pieces(randomBytes(600_000), 50_000) }))
  const read = async (octets: Uint8Array, name = 'name', under = key) => {
    await writeFile(path, octets)
    await readSpoolMeta(under, name, path)
    return whole(readSpoolMail(under, name, path))
  }
  await t.resolves(read(good))
  for (const at of [0, 8, 30, 67, 69, 80, 300, 262_300, good.length - 1]) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ 1
    await t.rejects(read(bad), `octet ${at}`)
  }
  // At a record's end too: the last one says that it is the last.
  for (const length of [0, 67, 100, 68 + 4 + 18, 68 + 22 + 262_164, good.length - 1]) {
    await t.rejects(read(good.subarray(0, length)), `${length} octets`)
  }
  await t.rejects(read(Buffer.concat([good, Buffer.from('x')])), 'one more')
  await t.rejects(read(good, 'other'), 'in the place of another')
  await t.rejects(read(good, 'name', spoolKeyOf(randomBytes(32))), 'another key')
})

t.test('an entry is there as a whole or not at all', async (t) => {
  const data = t.testdir({})
  const options = { folder: join(data, 'spool'), keyFile: join(data, 'spool.key'), reserve: 0 }
  const folder = await openSpoolFolder(options)
  t.equal((await stat(options.keyFile)).mode & 0o777, 0o600)
  const entry = entryOf(5)
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('half')
    throw new Error('the stream broke')
  }
  await t.rejects(folder.add(entry, broken()), /the stream broke/)
  t.same(await readdir(options.folder), [], 'not even a draft')
  await folder.add(entry, pieces(Buffer.from('whole'), 2))
  await folder.note(entry.id, { ...firstState(entry, 5), attempts: 3 }, { durable: true })
  for (const name of await readdir(options.folder)) {
    t.equal((await stat(join(options.folder, name))).mode & 0o777, 0o600, name)
    t.notMatch((await readFile(join(options.folder, name))).toString('latin1'), /whole|bob@|an intake/)
  }
  await writeFile(join(options.folder, '.draft-left'), 'by a killed process')
  await writeFile(join(options.folder, `${'0'.repeat(22)}.state`), 'of a mail that went')
  const again = await openSpoolFolder(options)
  t.same((await readdir(options.folder)).toSorted(), [entry.id, `${entry.id}.state`])
  for await (const loaded of again.load()) t.match(loaded, { kind: 'entry', entry, state: { attempts: 3 } })
  t.equal(`${await whole(again.mail(entry.id))}`, 'whole')
  await unlink(options.keyFile)
  await t.rejects(openSpoolFolder(options), /its key is missing; restore the file/)
})

t.test('pauses grow to their longest, spread by a quarter', (t) => {
  const pauses = { firstMs: 1_000, mostMs: 8_000 }
  const pause = (attempts: number, random: number) => nextAttempt(attempts, 0, pauses, random)
  t.same(
    [1, 2, 3, 4, 5, 60].map((attempts) => pause(attempts, 0.5)),
    [1_000, 2_000, 4_000, 8_000, 8_000, 8_000],
  )
  t.same([pause(1, 0), pause(1, 1)], [750, 1_250])
  t.end()
})

t.test('what an attempt comes to', (t) => {
  const waiting = [bob, eve].map((address) => ({ address, last: null, unknown: false, settled: null }))
  const result = (outcome: 'sent' | 'deferred' | 'unknown' | 'failed', recipient: string) => {
    return { recipient, outcome, code: 451, enhanced: '4.2.1', text: 'its words', remote: true }
  }
  const fates = (...pairs: readonly (readonly [typeof bob, Fate])[]) => new Map(pairs)
  const later = { kind: 'again', result: result('deferred', eve) } as const
  const lost = { kind: 'again', result: result('unknown', eve) } as const
  const done = { kind: 'done', result: result('sent', bob) } as const
  t.match(settleSpooled(waiting, fates([bob, done], [eve, later]), null), {
    sent: [{ recipient: bob }],
    failed: [],
    again: [{ address: eve, unknown: false, last: { text: 'its words' } }],
  })
  t.match(settleSpooled(waiting, fates([eve, lost]), null).again, [{ address: bob, last: null }, { unknown: true }])
  const over = settleSpooled(waiting, fates([bob, done], [eve, lost]), '5 days')
  t.same(over.again, [])
  t.match(over.failed, [
    { recipient: eve, enhanced: '5.4.7', text: /within 5 days; .* may have arrived; last answer: 451/ },
  ])
  t.equal(settleSpooled(waiting, new Map(), '5 days').failed.length, 2, 'also without an attempt')
  const told = waiting.map((one) => ({ ...one, settled: 'sent' as const }))
  t.match(settleSpooled(told, new Map(), '5 days'), { again: [], failed: [], sent: [] }, 'who is settled is left alone')
  t.end()
})
