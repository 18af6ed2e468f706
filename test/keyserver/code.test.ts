import { createPublicKey, verify } from 'node:crypto'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { Refused } from '../../cli/recipient.ts'
import { answers, codeHash, newChallengeId, newCode } from '../../keyserver/code.ts'
import { parseSystemStamp, stampedOctets } from '../../protocol/system-stamp.ts'
import { address, openHouse, org } from './house.ts'

async function refusal(work: Promise<unknown>) {
  try {
    await work
    return null
  } catch (error) {
    if (error instanceof Refused) return error.problem
    throw error
  }
}

/** Eight digits that are surely not this code. */
function wrongFor(code: string): string {
  return String((Number(code) + 1) % 100_000_000).padStart(8, '0')
}

t.test('codes are eight digits, each digit equally likely at each place', async (t) => {
  const codes = Array.from({ length: 20_000 }, newCode)
  t.ok(codes.every((code) => /^\d{8}$/.test(code)))
  for (let place = 0; place < 8; place++) {
    const counts = Array.from({ length: 10 }, () => 0)
    for (const code of codes) counts[Number(code[place])] = (counts[Number(code[place])] ?? 0) + 1
    // Chi-square with 9 degrees of freedom: 37.3 is one chance in 43,000.
    const chi = counts.reduce((sum, count) => sum + (count - 2000) ** 2 / 2000, 0)
    t.ok(chi < 37.3, `place ${place}: ${chi.toFixed(1)}`)
  }
})

t.test(
  'a code answers its own challenge in its own browser, and a stranger’s challenge is never answered',
  async (t) => {
    const secret = new Uint8Array(32).fill(7)
    const id = newChallengeId()
    const hash = codeHash(secret, id, 'key', '01234567')
    const challenge = {
      id,
      envelope: 'AAAAAAAAAAAAAAAAAAAAAA' as never,
      org,
      address: address('bea@example.org'),
      codeHash: hash,
      thumbprint: 'key',
      triesLeft: 5,
      expiresAt: 0,
    }
    t.equal(answers(secret, challenge, 'key', '01234567'), true)
    t.equal(answers(secret, challenge, 'key', '01234568'), false)
    t.equal(answers(secret, challenge, 'other', '01234567'), false)
    t.equal(answers(new Uint8Array(32), challenge, 'key', '01234567'), false)
    t.equal(answers(secret, { ...challenge, id: newChallengeId() }, 'key', '01234567'), false)
    t.equal(answers(secret, { ...challenge, codeHash: null }, 'key', '01234567'), false)
    // printf 'sealpost/code/v1\nc\nk\n00000000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:07…07
    t.equal(
      Buffer.from(codeHash(secret, 'c', 'k', '00000000')).toString('hex'),
      'f18f38e142cc27382c58de421ffdb71ee24804944575362ecf91011ec3b68abc',
    )
  },
)

t.test('the mail: code first, calm, plain, 7-bit, no link, marked, and stamped over all of it', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  await (await house.recipient()).askCode(id, 'BEA@example.org')
  const code = await house.code(0)
  const raw = house.mails[0] ?? ''
  t.match(raw, /^Auto-Submitted: auto-generated\r$/m)
  t.match(raw, /^Content-Transfer-Encoding: 7bit\r$/m)
  t.notMatch(raw, /https?:|www\.|multipart/)
  t.notMatch(raw, /[\u0080-\uffff]/)
  t.ok(raw.split('\r\n').every((line) => line.length <= 998))
  const mail = await simpleParser(raw)
  t.ok(mail.text?.startsWith(`${code}\n`), 'the code stands first')
  t.match(mail.text, /a protected message of acme\.example\nsent by anna@acme\.example/)
  t.equal(mail.from?.value[0]?.address, 'codes@acme.example')
  const body = raw.slice(raw.indexOf('\r\n\r\n') + 4)
  const stamp = parseSystemStamp(String(mail.headers.get('sealpost-system')))
  if (stamp === null) throw new Error('no stamp')
  const [from, to, subject] = [address('codes@acme.example'), address('bea@example.org'), mail.subject ?? '']
  const { jwk } = house.parts.keyring.signer
  t.equal(stamp.kid, jwk.kid)
  const holds = (changed: object) =>
    verify(
      null,
      stampedOctets({ org, time: stamp.time, from, to, subject, body, ...changed }),
      createPublicKey({ format: 'jwk', key: jwk }),
      stamp.signature,
    )
  t.ok(holds({}))
  t.ok(holds({ body: `${body.replaceAll('\r\n', '\n')}\n\n` }), 'line ends and empty lines at the end do not matter')
  for (const changed of [
    { body: `${body}x` },
    { to: from },
    { from: to },
    { subject: 'x' },
    { time: stamp.time + 1 },
  ]) {
    t.notOk(holds(changed), `changed ${Object.keys(changed)}`)
  }
})

t.test('five tries, then the code is over, also for the right answer', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.recipient()
  const { tries } = await bea.askCode(id, 'bea@example.org')
  t.equal(tries, 5)
  const code = await house.code(0)
  const left: (number | undefined)[] = []
  for (let i = 0; i < 5; i++) {
    const problem = await refusal(bea.answer(wrongFor(code)))
    t.equal(problem?.code, 'wrong-code')
    left.push(problem?.triesLeft)
  }
  t.same(left, [4, 3, 2, 1, 0])
  t.match(await refusal(bea.answer(code)), { code: 'code-expired', status: 410 })
})

t.test('five tries hold for answers that come all at once', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.recipient()
  await bea.askCode(id, 'bea@example.org')
  const code = await house.code(0)
  const problems = await Promise.all(Array.from({ length: 20 }, () => refusal(bea.answer(wrongFor(code)))))
  t.equal(problems.filter((problem) => problem?.code === 'wrong-code').length, 5)
  t.equal(problems.filter((problem) => problem?.code === 'code-expired').length, 15)
})

t.test('a code is good once, for ten minutes, and only in the browser that asked', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.recipient()
  await bea.askCode(id, 'bea@example.org')
  const code = await house.code(0)
  t.ok(await bea.answer(code))
  t.match(await refusal(bea.answer(code)), { code: 'code-expired' }, 'used up')
  const before = house.mails.length
  const other = await house.recipient()
  await other.askCode(id, 'bea@example.org')
  const second = await house.code(before)
  house.advance(10 * 60_000)
  t.match(await refusal(other.answer(second)), { code: 'code-expired' }, 'late')
  const third = await house.recipient()
  t.match(await refusal(third.answer(second)), { code: 'bad-request' }, 'another browser holds no challenge')
})

t.test('codes go to the recorded address; a stranger is answered the same and gets none', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const unconfirmed = await house.issue({ confirmed: false })
  const mallory = await house.recipient()
  const known = await mallory.askCode(id, 'Bea@EXAMPLE.org')
  const answers = [
    await mallory.askCode(id, 'mallory@example.org'),
    await mallory.askCode('AAAAAAAAAAAAAAAAAAAAAA', 'bea@example.org'),
    await mallory.askCode(unconfirmed.id, 'bea@example.org'),
  ]
  for (const answer of answers) {
    t.same(Object.keys(answer), Object.keys(known))
    t.equal(answer.challenge.length, known.challenge.length)
    t.equal(answer.tries, known.tries)
  }
  t.match(
    await refusal(mallory.answer('00000000')),
    { code: 'wrong-code', triesLeft: 4 },
    'and is asked for tries, too',
  )
  await house.code(0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(house.mails.length, 1)
  t.match(house.mails[0], /^To: bea@example\.org\r$/m)
})

t.test('asking again at once is refused, the same for everybody, and soon allowed', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.recipient()
  for (const who of ['bea@example.org', 'nobody@example.org']) {
    t.equal(await refusal(bea.askCode(id, who)), null)
    t.match(await refusal(bea.askCode(id, who)), { code: 'too-many', status: 429 })
  }
  house.advance(30_001)
  t.equal(await refusal(bea.askCode(id, 'bea@example.org')), null)
})

t.test('limits: codes per address, codes per network, and wrong answers per address over all browsers', async (t) => {
  const limits = { codesPerAddressPerHour: 4, codesPerNetworkPerHour: 6, wrongCodesPerAddressPerDay: 3 }
  const house = await openHouse(t, limits)
  const { id } = await house.issue()
  const asked = async (ip: string, who: string) => refusal((await house.recipient(ip)).askCode(id, who))
  for (let i = 0; i < 4; i++) t.equal(await asked(`2001:db8:${i}::1`, 'nobody@example.org'), null)
  t.match(await asked('2001:db8:9::1', 'nobody@example.org'), { code: 'too-many' }, 'one address, many networks')
  for (let i = 0; i < 6; i++) t.equal(await asked(`203.0.113.${i}`, `person${i}@example.org`), null)
  t.match(await asked('203.0.113.99', 'another@example.org'), { code: 'too-many' }, 'one network, many addresses')

  const [one, two] = [await house.recipient('192.0.2.1'), await house.recipient('198.51.100.1')]
  await one.askCode(id, 'bea@example.org')
  const first = await house.codeFor(0, 'bea@example.org')
  for (let i = 0; i < 2; i++) t.match(await refusal(one.answer(wrongFor(first))), { code: 'wrong-code' })
  const before = house.mails.length
  await two.askCode(id, 'bea@example.org')
  const second = await house.codeFor(before, 'bea@example.org')
  t.match(await refusal(two.answer(wrongFor(second))), { code: 'wrong-code', triesLeft: 4 })
  t.match(await refusal(two.answer(second)), { code: 'too-many', status: 429 }, 'even the right one')
  t.match(await refusal(one.answer(first)), { code: 'too-many' })
  house.advance(86_400_001)
  const later = await house.issue()
  t.ok(await house.proven(later.id, 'bea@example.org'), 'a day later all is well')
})

t.test('asking takes the same time whether or not the address is a recipient', async (t) => {
  const house = await openHouse(t)
  const rounds = 200
  const people = Array.from({ length: rounds + 20 }, (_, i) => `person${i}@example.org`)
  const { id } = await house.issue({ recipients: people })
  const browser = await house.recipient()
  const times = { known: [] as number[], stranger: [] as number[] }
  const ask = async (kind: 'known' | 'stranger', i: number) => {
    const start = performance.now()
    await browser.askCode(id, kind === 'known' ? `person${i}@example.org` : `nobody${i}@example.org`)
    times[kind].push(performance.now() - start)
  }
  for (let i = 0; i < rounds + 20; i++) {
    await ask(i % 2 === 0 ? 'known' : 'stranger', i)
    await ask(i % 2 === 0 ? 'stranger' : 'known', i)
    if (i === 19) times.known.length = times.stranger.length = 0
  }
  const z = rankDifference(times.known, times.stranger)
  // By chance once in 16,000; a shift by 0.4 of the usual spread would show.
  t.ok(Math.abs(z) < 4, `standard deviations between the ranks: ${z.toFixed(2)}`)
})

/** Mann-Whitney U of two samples, in standard deviations from what chance would give. */
function rankDifference(one: readonly number[], other: readonly number[]): number {
  const all = [...one.map((value) => ({ value, mine: true })), ...other.map((value) => ({ value, mine: false }))]
  all.sort((a, b) => a.value - b.value)
  const ranks = all.reduce((sum, { mine }, i) => sum + (mine ? i + 1 : 0), 0)
  const [n, m] = [one.length, other.length]
  const u = ranks - (n * (n + 1)) / 2
  return (u - (n * m) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12)
}
