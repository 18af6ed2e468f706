import t, { type Test } from 'tap'
import { createTokenSource, TokenFault } from '../../gateway/oauth-token.ts'
import { startCloudEdge } from './cloud-edge.ts'

const never = new AbortController().signal

async function open(t: Test, lifetime: number | string, per: 'directory' | 'mailbox' = 'mailbox') {
  let made = 0
  const edge = await startCloudEdge(() => ({
    status: 200,
    body: { access_token: `token-${++made}`, expires_in: lifetime },
  }))
  t.teardown(() => edge.close())
  const form = async (mailbox: string) => ({ sub: mailbox })
  return { edge, source: createTokenSource({ url: `${edge.origin}/token`, per, form, timeoutMs: 300 }) }
}

t.test('a token is kept, one for each mailbox, and asked for once by all who wait', async (t) => {
  const { edge, source } = await open(t, 3600)
  const tokens = await Promise.all(['a', 'a', 'b', 'a'].map((mailbox) => source.token(mailbox, never)))
  t.equal(new Set(tokens).size, 2)
  await source.token('a', never)
  t.equal(edge.asked.length, 2)
})

t.test('where one serves all mailboxes, one is asked for', async (t) => {
  const { edge, source } = await open(t, 3600, 'directory')
  await Promise.all(['a', 'b', 'c'].map((mailbox) => source.token(mailbox, never)))
  t.equal(edge.asked.length, 1)
})

t.test('a token is renewed before it ends, and when it was refused', async (t) => {
  const { source } = await open(t, '0.2')
  t.equal(await source.token('a', never), 'token-1')
  t.equal(await source.token('a', never), 'token-1')
  await new Promise((resolve) => setTimeout(resolve, 170))
  t.equal(await source.token('a', never), 'token-2')
  source.forget('a', 'token-1')
  t.equal(await source.token('a', never), 'token-2', 'another than the one that was refused stays')
  source.forget('a', 'token-2')
  t.equal(await source.token('a', never), 'token-3')
})

t.test('what is no token is a fault in plain words, and the next one is asked for', async (t) => {
  const { edge, source } = await open(t, 3600)
  const faults = [
    [{ status: 400, body: { error: 'invalid_grant', error_description: 'secret' } }, /HTTP 400: invalid_grant\)$/],
    [{ status: 500, body: '<html>' }, /no answer that can be read/],
    [{ status: 200, body: { access_token: 'a b\r\nc' } }, /refused \(HTTP 200\)/],
    [{ status: 302, headers: { location: 'http://127.0.0.1:1/' }, body: {} }, /no answer/],
    ['drop', /no answer/],
    ['hang', /no answer/],
  ] as const
  for (const [trick, pattern] of faults) {
    edge.trick(/token/, trick)
    await t.rejects(source.token('a', never), { name: 'TokenFault', message: pattern })
  }
  t.equal(new TokenFault('x').name, 'TokenFault')
  t.match(await source.token('a', never), /^token-/)
})

t.test('whoever gives up does not wait, and the others get their token', async (t) => {
  const { source } = await open(t, 3600)
  const giveUp = new AbortController()
  const first = source.token('a', giveUp.signal)
  const second = source.token('a', never)
  giveUp.abort(new Error('enough'))
  await t.rejects(first, { message: 'enough' })
  t.equal(await second, 'token-1')
})
