import t from 'tap'
import { createChance } from '../soak/chance.ts'
import { faultsOf, playRound } from '../soak/round.ts'

const KILLS = 30
/** For all kills; on a slow machine there are fewer. */
const LONGEST = 40_000

t.test('thirty kills under load: every mail with a 250 arrived, once, or a kill says why twice', async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const round = await playRound(t, {
    ...{
      provider: 'slow',
      delivery: 'inline',
      kills: KILLS,
      pause: 2_000,
      longest: LONGEST,
      chance: createChance(seed),
    },
  })
  const { kills, letters, attempts, ledger } = round
  t.comment(`${letters} mails in ${attempts.length} attempts, ${kills.length} kills, ${ledger.doubles} doubles`)
  t.ok(kills.length >= KILLS / 2, 'it was a bad day')
  t.ok(letters > 40, 'there was load')
  t.ok(attempts.filter(({ code }) => code !== 250).length > KILLS, 'and the kills hurt')
  t.same(
    attempts.filter(({ code }) => code >= 500),
    [],
    'nobody was refused for good',
  )
  t.equal(ledger.accepted, letters, 'every client got its 250 in the end')
  t.ok(ledger.arrived >= letters)
  t.same(
    faultsOf(round),
    [],
    'nothing is lost, nothing is there twice without a death that says why, nobody saw a word',
  )
})
