import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { parse } from 'yaml'
import { smtpUser } from '../../cli/smtp-user.ts'
import { createAccounts } from '../../gateway/accounts.ts'
import { parseOrgId } from '../../protocol/identifiers.ts'
import { capture } from './capture.ts'

const PASSWORD = 'correct horse battery'
const org = parseOrgId('acme.example')

function typed(...pieces: string[]) {
  return Readable.from(pieces)
}

t.test('the entry that is printed lets the account in with its password, and with no other', async (t) => {
  const io = capture()
  t.equal(
    await smtpUser(
      ['add', 'printer@acme.example', '--org', 'acme.example'],
      io,
      typed('correct horse', ' battery\r\nmore'),
    ),
    0,
  )
  const [account] = parse(io.text()) as { user: string; org: string; hash: string }[]
  t.equal(account?.user, 'printer@acme.example')
  t.equal(account?.org, org)
  if (org === null || account === undefined) return
  const accounts = createAccounts([{ ...account, org }])
  t.ok(await accounts.verify('printer@acme.example', PASSWORD))
  t.notOk(await accounts.verify('printer@acme.example', `${PASSWORD}!`))
  t.notMatch(io.text(), PASSWORD)
})

t.test('with --file entries are added one after another, readable by the owner alone', async (t) => {
  const file = join(t.testdir({ 'accounts.yaml': '# accounts' }), 'accounts.yaml')
  for (const name of ['one', 'two']) {
    t.equal(
      await smtpUser(['add', name, '--org', 'acme.example', '--file', file], capture(), typed(`${PASSWORD}\n`)),
      0,
    )
  }
  t.match(parse(readFileSync(file, 'utf8')), [{ user: 'one' }, { user: 'two' }])
  t.equal(statSync(file).mode & 0o777, 0o600)
})

t.test('a name that is in the file already is refused, and the file stays as it was', async (t) => {
  const file = join(t.testdir(), 'accounts.yaml')
  await smtpUser(['add', 'one', '--org', 'acme.example', '--file', file], capture(), typed(PASSWORD))
  const before = readFileSync(file, 'utf8')
  const again = smtpUser(['add', 'one', '--org', 'acme.example', '--file', file], capture(), typed(PASSWORD))
  await t.rejects(again, { message: /already holds one/ })
  t.equal(readFileSync(file, 'utf8'), before)
})

for (const [what, input] of [
  ['a short password', 'short\n'],
  ['no password at all', ''],
  ['a password without end', 'x'.repeat(10_000)],
] as const) {
  t.test(`${what} is refused`, async (t) => {
    await t.rejects(smtpUser(['add', 'one', '--org', 'acme.example'], capture(), typed(input)), { name: 'UsageError' })
  })
}
