import t from 'tap'
import type { Act, Moment } from './flaky-provider.ts'
import { attempt, type Letter, letter, retry } from './retrying-client.ts'
import { openTrouble, until } from './trouble.ts'

const bob = 'bob@example.org'
const eve = 'eve@example.net'

/** What happens to one mail, at one step, until the provider is well again. */
type Case = {
  readonly name: string
  readonly phase: Moment['phase']
  /** What is done there; `stall`: nothing, until the gateway has given up; `kill`: the provider dies. */
  readonly act: Act | 'stall' | 'kill'
  /** Said to every recipient at that step if absent. */
  readonly only?: string
  /** Octets: with 9,000,000 the dot does not fit into the sockets behind what the provider has read. */
  readonly size?: number
  /** How often each is kept in the end; once, if absent. */
  readonly copies?: { readonly [recipient: string]: number }
  /** The client is told 250 although the answer to the content did not come: the spool finds out. */
  readonly spooled?: true
}

const twice = { copies: { [bob]: 2, [eve]: 2 }, spooled: true } as const

const cases: readonly Case[] = [
  { name: 'it hangs up before its banner', phase: 'banner', act: null },
  { name: 'it never says its banner', phase: 'banner', act: 'stall' },
  { name: 'its banner is 421', phase: 'banner', act: '421 4.3.2 closing' },
  { name: 'its banner is 554', phase: 'banner', act: '554 5.3.2 not now' },
  { name: 'it hangs up after EHLO', phase: 'ehlo', act: null },
  { name: 'it answers EHLO with 421', phase: 'ehlo', act: '421 4.3.2 closing' },
  { name: 'it answers EHLO with 450', phase: 'ehlo', act: '450 4.3.2 busy' },
  { name: 'it hangs up at MAIL', phase: 'mail', act: null },
  { name: 'it does not answer MAIL', phase: 'mail', act: 'stall' },
  { name: 'it answers MAIL with 451', phase: 'mail', act: '451 4.3.0 later' },
  { name: 'it answers MAIL with 421', phase: 'mail', act: '421 4.3.2 closing' },
  { name: 'it hangs up at RCPT', phase: 'rcpt', act: null },
  { name: 'it dies after the first RCPT', phase: 'rcpt', only: eve, act: 'kill' },
  { name: 'it does not answer RCPT', phase: 'rcpt', act: 'stall' },
  { name: 'it answers RCPT with 450', phase: 'rcpt', act: '450 4.2.1 greylisted' },
  { name: 'it answers one RCPT of two with 450', phase: 'rcpt', only: eve, act: '450 4.2.1 greylisted' },
  { name: 'it answers RCPT with 421', phase: 'rcpt', act: '421 4.3.2 closing' },
  { name: 'it hangs up at DATA', phase: 'data', act: null },
  { name: 'it does not answer DATA', phase: 'data', act: 'stall' },
  { name: 'it answers DATA with 451', phase: 'data', act: '451 4.3.0 later' },
  { name: 'it answers DATA with 421', phase: 'data', act: '421 4.3.2 closing' },
  { name: 'it dies in the middle of the content', phase: 'content', size: 9_000_000, act: 'kill' },
  { name: 'it stops reading in the middle of the content', phase: 'content', size: 9_000_000, act: 'stall' },
  { name: 'it refuses for now in the middle of the content', phase: 'content', size: 3_000_000, act: '452 4.3.1 full' },
  { name: 'it answers the dot with 451', phase: 'dot', act: '451 4.3.0 later' },
  { name: 'it answers the dot with 421', phase: 'dot', act: '421 4.3.2 closing' },
  { name: 'it dies at the dot, and has kept nothing', phase: 'dot', act: 'kill', spooled: true },
  { name: 'it hangs up after it kept the mail: the answer is lost', phase: 'answer', act: null, ...twice },
  { name: 'it dies after it kept the mail: the answer is lost', phase: 'answer', act: 'kill', ...twice },
  { name: 'it keeps the mail and says so late', phase: 'answer', act: 'stall', spooled: true },
]

t.test('whatever the provider does, nothing is lost, nothing is clear, and a double has a reason', async (t) => {
  // The phases of a delivery last as long as this says in all, and are in proportion.
  const trouble = await openTrouble(t, {
    gateway: { limits: { budgetSeconds: 5 }, spool: { retrySeconds: 1, retryMostSeconds: 1 } },
  })
  const { provider, first } = trouble
  await trouble.start('keyserver', 'gw1')
  const letters: Letter[] = []
  const lostAnswers = new Set<string>()
  for (const one of cases) {
    await t.test(one.name, async (t) => {
      const mail = letter([bob, eve], { size: one.size ?? 0 })
      letters.push(mail)
      // Otherwise a kept connection would be past the step already.
      await provider.kill()
      await provider.start()
      let recover = () => {}
      const recovered = new Promise<undefined>((resolve) => {
        recover = () => resolve(undefined)
      })
      provider.play(({ phase, line }) => {
        if (phase !== one.phase || !line.includes(one.only ?? '')) return undefined
        if (phase === 'answer' && one.act !== 'stall') lostAnswers.add(mail.id)
        if (one.act === 'stall') return recovered
        if (one.act !== 'kill') return one.act
        return provider.kill().then(() => null)
      })
      if (one.spooled) t.match(await attempt(first, mail), { code: 250, said: /kept here/ }, 'the spool has it')
      else t.match(await attempt(first, mail), { code: 451 }, 'the client is told to try again')
      recover()
      provider.play(null)
      await provider.start()
      t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
      for (const to of mail.to) {
        const copies = one.copies?.[to] ?? 1
        await until(to, () => trouble.copies(mail, to).length >= copies)
        t.equal(trouble.copies(mail, to).length, copies, to)
      }
    })
  }
  t.same(await trouble.leaks(...letters), [], 'of all these attempts not a word can be read')
  const doubled = letters.filter((mail) => mail.to.some((to) => trouble.copies(mail, to).length > 1))
  t.same(
    doubled.map(({ id }) => id),
    [...lostAnswers],
    'every double had its answer lost',
  )
  const unknown = trouble.records().filter((one) => one.kind === 'outcome' && one.outcome === 'unknown')
  t.ok(unknown.length >= 2 * lostAnswers.size, 'and the log tells of each answer that was lost')
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})
