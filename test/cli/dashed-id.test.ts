import t from 'tap'
import { shieldIds } from '../../cli/dashed-id.ts'
import { run } from '../../cli/run.ts'
import { capture } from './capture.ts'

const id = '-AAAAAAAAAAAAAAAAAAAAA'

t.test('an envelope id that begins with a hyphen is no option', async (t) => {
  t.same(shieldIds(['acme.example', id, '--reason', 'x']), ['acme.example', '--reason', 'x', '--', id])
  t.same(shieldIds(['show', 'log.sqlite', '--envelope', id]), ['show', 'log.sqlite', `--envelope=${id}`])
  t.same(shieldIds(['acme.example', 'AAAAAAAAAAAAAAAAAAAAAA']), ['acme.example', 'AAAAAAAAAAAAAAAAAAAAAA'])
  t.same(shieldIds(['--config', 'officer.yaml', '--nonsense']), ['--config', 'officer.yaml', '--nonsense'])
})

t.test('such an envelope can be revoked, and looked for in the log', async (t) => {
  const io = capture()
  await run(['revoke', 'acme.example', id, '--reason', 'x'], io)
  t.match(io.errors(), /^Missing: --keyserver/, 'the id is understood')
  const log = capture()
  await run(['audit', 'show', '/nowhere.sqlite', '--envelope', id], log)
  t.match(log.errors(), /no such file/)
})
