import { chmodSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError } from '../../protocol/config-document.ts'
import { takeAlone } from '../../protocol/sole-user.ts'

t.test('one has it, a second is told so, and the next gets it when the first lets go', (t) => {
  const lock = join(t.testdir(), 'data', '.lock')
  const first = takeAlone(lock, 'data: here')
  t.throws(
    () => takeAlone(lock, 'data: here'),
    new ConfigError(['data: here is in use by another process; stop that one first']),
  )
  t.equal(statSync(lock).mode & 0o777, 0o600, 'nobody else can take it away')
  first.release()
  takeAlone(lock, 'data: here').release()
  t.end()
})

t.test('a lock that this user cannot write to locks nothing, and is refused', (t) => {
  const lock = join(t.testdir(), '.lock')
  writeFileSync(lock, '')
  chmodSync(lock, 0o444)
  const isRoot = process.geteuid?.() === 0
  // Nothing is forbidden to root.
  if (isRoot) process.seteuid?.(65534)
  try {
    t.throws(
      () => takeAlone(lock, 'data: here'),
      /data: here cannot be used: .*\.lock: this user may not read or write it/,
    )
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
  t.end()
})
