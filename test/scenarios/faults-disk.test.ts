import { execFileSync } from 'node:child_process'
import { existsSync, statfsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { Refused } from '../../cli/recipient.ts'
import { attempt, letter } from './retrying-client.ts'
import { envelopeIn, sealedCopyIn } from './sink.ts'
import { openTrouble, type Trouble, until } from './trouble.ts'

/*
 * The key server's folder is a disk of its own, of 64 MiB, that other files fill.
 *   client --SMTP--> gateway --> provider        recipient, sender, officer --> key server
 */
const MIB = 1024 ** 2
const codeOf = (error: unknown) => (error instanceof Refused ? error.code : String(error))

/** Puts a small file system where the database will lie. False where this account may not mount. */
function mountSmallDisk(test: { teardown(act: () => unknown): unknown }, folder: string): boolean {
  try {
    execFileSync('/usr/bin/mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=0700', 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return false
  }
  // Lazily: the processes of the house end later, and the folder goes after them.
  test.teardown(() => execFileSync('/usr/bin/umount', ['-l', folder]))
  return true
}

async function seal(trouble: Trouble, people: readonly string[]) {
  const mail = letter(people)
  const handed = await attempt(trouble.first, mail)
  if (handed.code !== 250) throw new Error(handed.said)
  const octets = trouble.copies(mail, people[0] ?? '')[0]?.octets ?? Buffer.alloc(0)
  return { id: envelopeIn(octets), sealed: sealedCopyIn(octets) }
}

t.test('a disk that fills up stops mail and releases early, and no revocation ever', async (t) => {
  const trouble = await openTrouble(t, { keyserver: { disk: { keepFree: 16, reserve: 4 } } })
  const { database, ports } = trouble.house
  const disk = dirname(database)
  if (!mountSmallDisk(t, disk)) {
    t.pass('skipped: this account may not mount a small disk to fill')
    return
  }
  const free = () => {
    const { bavail, bsize } = statfsSync(disk)
    return bavail * bsize
  }
  const fill = (left: number) => writeFile(join(disk, `filler-${left}`), Buffer.alloc(Math.max(0, free() - left)))
  const health = async () => {
    const answer = await fetch(`http://127.0.0.1:${ports.keyserverOps}/health/ready`)
    const { parts } = (await answer.json()) as { parts: { part: string; state: string; because: string | null }[] }
    return { status: answer.status, disk: parts.find(({ part }) => part === 'disk') }
  }
  const isShort = async () => (await health()).disk?.state === 'down'

  await trouble.start('keyserver', 'gw1')
  t.ok(existsSync(`${database}.reserve`), 'the reserve is there from the start')
  const first = await seal(trouble, ['bob@example.org'])
  const second = await seal(trouble, ['bob@example.org'])
  const third = await seal(trouble, ['bob@example.org'])
  const answers: Response[] = []
  const bob = await trouble.prove(first.id, 'bob@example.org', async (input, init) => {
    const answer = await fetch(input, init)
    answers.push(answer)
    return answer
  })
  const anna = await trouble.prove(first.id, 'anna@acme.example')
  t.ok(await bob.release(first.sealed))

  await fill(12 * MIB)
  await until('the finding', isShort)
  t.match(await health(), {
    status: 503,
    disk: { state: 'down', because: /11 MiB|12 MiB.*make room/ },
  })
  t.equal(await bob.release(first.sealed).then(String, codeOf), 'unavailable')
  t.equal(answers.at(-1)?.status, 503)
  t.match(answers.at(-1)?.headers.get('retry-after'), /^\d+$/)
  const waiting = letter(['bob@example.org'])
  t.match(await attempt(trouble.first, waiting), { code: 451, said: /4\.3\.0/ })
  t.ok(free() > 10 * MIB, 'long before it is full')
  t.match(await trouble.officer('revoke', 'acme.example', first.id, '--reason', 'wrong list'), { code: 0 })
  t.equal(await bob.release(first.sealed).then(String, codeOf), 'revoked', 'and a proven person is told')
  t.ok(existsSync(`${database}.reserve`), 'for that there was room')

  await fill(0)
  t.equal(free(), 0, 'not an octet is left')
  let given = 0
  for (; given < 200 && existsSync(`${database}.reserve`); given++) {
    if ((await bob.release(first.sealed).then(String, codeOf)) !== 'revoked') break
  }
  t.notOk(existsSync(`${database}.reserve`), `the reserve is given up, after ${given} refusals`)
  await writeFile(join(disk, 'filler-more'), Buffer.alloc(Math.max(0, free() - MIB)))
  t.match(await trouble.officer('revoke', 'acme.example', second.id, '--reason', 'wrong list'), { code: 0 })
  t.ok(await anna.revoke(third.id), 'the sender can, too')
  t.equal(await bob.release(second.sealed).then(String, codeOf), 'revoked')
  t.equal(await bob.release(third.sealed).then(String, codeOf), 'revoked')
  t.match(await attempt(trouble.first, waiting), { code: 451 }, 'mail does not take what the reserve left')

  for (const name of [12 * MIB, 0, 'more']) await rm(join(disk, `filler-${name}`))
  await until('room', async () => !(await isShort()))
  t.ok(existsSync(`${database}.reserve`), 'the reserve is made again')
  t.match(await attempt(trouble.first, waiting), { code: 250 })
  t.equal(trouble.copies(waiting, 'bob@example.org').length, 1)
  const kinds = trouble.records().map(({ kind }) => kind)
  t.equal(kinds.filter((kind) => kind === 'revoked').length, 3)
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})
