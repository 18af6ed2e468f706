import t from 'tap'
import { decideOutbound, loadPolicy } from '../../rulebook/index.ts'
import { mail, policyOf, policyText } from './policy-file.ts'

const DAY = 86_400
const BROKEN = 'message.size / message.ttlWish == 7'

t.test('the first rule that matches decides', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: a, when: "\'x\' in message.tags", then: pass }',
      '{ name: b, when: message.report, then: refuse, because: No reports. }',
      '{ name: c, when: message.report || message.list, then: seal, ttl: 3d }',
    ],
  })
  t.same(decideOutbound(policy, mail({ subject: '[X] hi', report: true })), { kind: 'pass', rule: 'a' })
  t.same(decideOutbound(policy, mail({ report: true })), { kind: 'refuse', rule: 'b', because: 'No reports.' })
  t.same(decideOutbound(policy, mail({ list: true })), {
    kind: 'seal',
    rule: 'c',
    terms: { ttlSeconds: 3 * DAY, proof: 'code' },
  })
  t.same(decideOutbound(policy, mail()), {
    kind: 'seal',
    rule: 'default',
    terms: { ttlSeconds: 30 * DAY, proof: 'code' },
  })
})

t.test('a rule that passes may demand TLS, and the verdict says so', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: guarded, when: message.list, then: pass, tls: required }',
      '{ name: open, when: message.report, then: pass }',
    ],
  })
  t.same(decideOutbound(policy, mail({ list: true })), { kind: 'pass', rule: 'guarded', tls: 'next-hop' })
  t.same(decideOutbound(policy, mail({ report: true })), { kind: 'pass', rule: 'open' })
})

t.test('a pass that rests on the recipient host giving TLS demands it, and no other does', async (t) => {
  const safe = '{ name: safe, when: "recipient.tls == \'verified\'", then: pass }'
  const verified = mail({ recipientTls: 'verified' })
  const passing = policyOf({ outbound: ['{ name: list, when: message.list, then: pass }', safe] })
  t.same(decideOutbound(passing, verified), { kind: 'pass', rule: 'safe', tls: 'recipient' })
  t.match(decideOutbound(passing, mail()), { kind: 'seal', rule: 'default' })
  t.same(
    decideOutbound(passing, mail({ list: true, recipientTls: 'verified' })),
    { kind: 'pass', rule: 'list' },
    'a rule above did not ask',
  )
  const sealing = policyOf({
    outbound: ['{ name: unsafe, when: "message.size > 0 && recipient.tls == \'none\'", then: seal }'],
    otherwise: 'pass',
  })
  t.same(decideOutbound(sealing, verified), { kind: 'pass', rule: 'default', tls: 'recipient' })
  t.match(decideOutbound(sealing, mail()), { kind: 'seal', rule: 'unsafe' })
  const short = policyOf({
    outbound: ['{ name: a, when: "message.report && recipient.tls == \'verified\'", then: seal }'],
    otherwise: 'pass',
  })
  t.same(decideOutbound(short, verified), { kind: 'pass', rule: 'default' }, 'what was not looked at decided nothing')
  const anyway = policyOf({ outbound: ['{ name: open, when: "recipient.tls == \'none\'", then: pass }'] })
  t.same(decideOutbound(anyway, mail()), { kind: 'pass', rule: 'open' }, 'there is no TLS to demand')
  const both = policyOf({ outbound: [safe.replace('then: pass', 'then: pass, tls: required')] })
  t.same(decideOutbound(both, verified), { kind: 'pass', rule: 'safe', tls: 'recipient' })
})

t.test('a rule that only observes the TLS of recipients changes nothing', async (t) => {
  const policy = policyOf({
    outbound: ['{ name: trial, when: "recipient.tls == \'verified\'", then: refuse, because: No., observe: true }'],
    otherwise: 'pass',
  })
  t.same(decideOutbound(policy, mail({ recipientTls: 'verified' })), {
    kind: 'pass',
    rule: 'default',
    observed: [{ rule: 'trial', would: 'refuse' }],
  })
  t.equal(policy.readsRecipientTls, true, 'and yet it is to be found out')
  t.equal(policyOf({}).readsRecipientTls, false)
})

t.test('a file whose rules ask what cannot be known is faulty, with the place', async (t) => {
  const text = policyText({ outbound: ['{ name: safe, when: "recipient.tls == \'verified\'", then: pass }'] })
  const loaded = loadPolicy(text, 'test.yaml', { recipientTls: false })
  t.match(loaded, {
    kind: 'faulty',
    faults: [{ line: 5, message: /^'recipient\.tls' cannot be known/, hint: /^write recipient\.domain in/ }],
  })
  t.match(loadPolicy(text, 'test.yaml', { recipientTls: true }), { kind: 'policy' })
  const typo = policyText({ outbound: ['{ name: safe, when: "recipient.tls == \'yes\'", then: pass }'] })
  t.match(loadPolicy(typo, 'test.yaml'), { kind: 'faulty' }, 'only its own words can be compared with it')
})

t.test('a rule that holds says why, how long an officer has, and how it is sealed once it is let go', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: prices, when: message.list, then: hold, because: Prices are looked at., within: 2d, ttl: 3d, carry: link }',
      '{ name: signed, when: message.signed, then: hold, because: Wait. }',
    ],
    sealing: '{ subject: Encrypted }',
  })
  t.same(decideOutbound(policy, mail({ list: true })), {
    ...{ kind: 'hold', rule: 'prices', because: 'Prices are looked at.', holdSeconds: 2 * DAY },
    ...{ terms: { ttlSeconds: 3 * DAY, proof: 'code' }, subject: 'Encrypted', carry: 'link' },
  })
  t.match(decideOutbound(policy, mail({ signed: true })), {
    holdSeconds: 7 * DAY,
    terms: { ttlSeconds: 30 * DAY },
  })
  t.match(decideOutbound(policy, mail({ list: true, wish: '1d' })), { terms: { ttlSeconds: DAY } })
})

t.test('a condition that cannot be worked out: refused before held, held before sealed', async (t) => {
  const hold = '{ name: held, when: message.list, then: hold, because: Wait., ttl: 2d }'
  const broken = (then: string) => `{ name: broken, when: ${BROKEN}, then: ${then} }`
  const refuse = '{ name: refused, when: message.report, then: refuse, because: No. }'
  const verdictOf = (rules: readonly string[], what: Parameters<typeof mail>[0] = {}) =>
    decideOutbound(policyOf({ outbound: rules }), mail(what))
  t.match(verdictOf([broken('hold, because: Wait.')]), { kind: 'hold', rule: 'error-in:broken', because: 'Wait.' })
  t.match(verdictOf([broken('pass'), hold], { list: true }), { kind: 'hold', rule: 'held' })
  t.match(verdictOf([broken('pass'), hold]), { kind: 'seal', rule: 'error-in:broken', terms: { ttlSeconds: 2 * DAY } })
  t.match(verdictOf([broken('hold, because: Wait.'), refuse], { report: true }), { kind: 'refuse', rule: 'refused' })
  t.match(verdictOf([hold.replace('name: held', 'name: tried, observe: true')], { list: true }), {
    kind: 'seal',
    observed: [{ rule: 'tried', would: 'hold' }],
  })
})

t.test('the default is what the file says', async (t) => {
  t.same(decideOutbound(policyOf({ otherwise: 'pass' }), mail()), { kind: 'pass', rule: 'default' })
  t.match(decideOutbound(policyOf({ otherwise: 'refuse' }), mail()), { kind: 'refuse', rule: 'default', because: /\w/ })
})

t.test('the time to live follows wish, rule, default and cap', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: week, when: message.list, then: seal, ttl: 7d }',
      '{ name: fixed, when: message.signed, then: seal, ttl: 5d, wish: false }',
      '{ name: deaf, when: message.malformed, then: seal, wish: false }',
    ],
  })
  const cases: [what: Parameters<typeof mail>[0], days: number][] = [
    [{}, 30],
    [{ wish: '7d' }, 7],
    [{ wish: '60d' }, 60],
    [{ wish: '3660d' }, 90],
    [{ list: true }, 7],
    [{ list: true, wish: '1d' }, 1],
    [{ list: true, wish: '60d' }, 7],
    [{ signed: true, wish: '1d' }, 5],
    [{ signed: true, wish: '60d' }, 5],
    [{ malformed: true, wish: '1d' }, 30],
    [{ wish: '1s' }, 60 / DAY],
  ]
  for (const [what, days] of cases) {
    t.match(decideOutbound(policy, mail(what)), { terms: { ttlSeconds: days * DAY } }, JSON.stringify(what))
  }
})

t.test('a rule that cannot be worked out never lets a mail pass', async (t) => {
  const broken = (then: string) => `{ name: broken, when: '${BROKEN}', then: ${then} }`
  const later = ['{ name: passes, when: true, then: pass }']
  t.test('it is sealed for the shortest time in the file', async (t) => {
    const policy = policyOf({
      outbound: ['{ name: short, when: message.list, then: seal, ttl: 2d }', broken('pass'), ...later],
    })
    t.same(decideOutbound(policy, mail()), {
      kind: 'seal',
      rule: 'error-in:broken',
      terms: { ttlSeconds: 2 * DAY, proof: 'code' },
    })
  })
  t.test('a refuse in error refuses', async (t) => {
    const policy = policyOf({ outbound: [broken('refuse, because: Not this.'), ...later] })
    t.same(decideOutbound(policy, mail()), { kind: 'refuse', rule: 'error-in:broken', because: 'Not this.' })
  })
  t.test('a refuse further down still refuses', async (t) => {
    const policy = policyOf({
      outbound: [broken('seal'), '{ name: no, when: message.report, then: refuse, because: No. }', ...later],
    })
    t.match(decideOutbound(policy, mail({ report: true })), { kind: 'refuse', rule: 'no' })
    t.match(decideOutbound(policy, mail()), { kind: 'seal', rule: 'error-in:broken' })
  })
  t.test('an error that cannot change a condition is none', async (t) => {
    const policy = policyOf({
      outbound: [`{ name: broken, when: 'message.report && ${BROKEN}', then: seal }`, ...later],
    })
    t.same(decideOutbound(policy, mail()), { kind: 'pass', rule: 'passes' })
  })
  t.test('facts that lack what they promise do not end the process', async (t) => {
    const facts = mail()
    const torn = { ...facts, message: { ...facts.message, headers: undefined, size: 1.5 } }
    const policy = policyOf({
      outbound: ['{ name: h, when: "\'x\' in message.headers || message.size == 1", then: pass }'],
    })
    t.match(decideOutbound(policy, torn as never), { kind: 'seal', rule: 'error-in:h' })
  })
})

t.test('what a sealed mail shows outside is what its rule says, else what the file says', async (t) => {
  const outbound = [
    '{ name: own, when: message.list, then: seal, subject: News, carry: mail }',
    '{ name: part, when: message.signed, then: seal, carry: both }',
    `{ name: broken, when: '${BROKEN}', then: seal, subject: Error }`,
  ]
  const policy = policyOf({ outbound, sealing: '{ subject: Encrypted message, carry: link }' })
  const seen = (given: Parameters<typeof mail>[0]) => {
    const verdict = decideOutbound(policy, mail(given))
    return verdict.kind === 'seal' ? [verdict.subject, verdict.carry ?? 'both'] : verdict.kind
  }
  t.same(seen({ list: true }), ['News', 'mail'])
  t.same(seen({ signed: true }), ['Encrypted message', 'both'])
  t.same(seen({ wish: '1d' }), ['Encrypted message', 'link'], 'no rule')
  t.same(seen({}), ['Error', 'link'], 'a rule in error')
  const verdict = decideOutbound(policyOf({}), mail())
  t.notOk('subject' in verdict || 'carry' in verdict, 'the subject stays, and it goes both ways')
})

t.test('a rule that only observes says what it would decide, and the next is tried', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: no-reports, when: message.report, then: refuse, because: No reports., observe: true }',
      '{ name: all, when: true, then: seal, ttl: 1h, observe: true }',
      `{ name: broken, when: '${BROKEN}', then: pass }`,
      `{ name: late, when: message.report, then: refuse, because: Late., observe: true }`,
    ],
  })
  t.same(decideOutbound(policy, mail({ report: true, wish: '2d' })), {
    kind: 'seal',
    rule: 'default',
    terms: { ttlSeconds: 2 * DAY, proof: 'code' },
    observed: [
      { rule: 'no-reports', would: 'refuse' },
      { rule: 'all', would: 'seal' },
      { rule: 'late', would: 'refuse' },
    ],
  })
  const inError = decideOutbound(policy, mail({ report: true }))
  t.match(
    inError,
    { kind: 'seal', rule: 'error-in:broken', terms: { ttlSeconds: 30 * DAY } },
    'nothing of theirs counts',
  )
  t.same(
    inError.observed?.map(({ rule }) => rule),
    ['no-reports', 'all'],
    'up to the rule that decides',
  )
  const broken = policyOf({ outbound: [`{ name: odd, when: '${BROKEN}', then: refuse, because: No., observe: true }`] })
  t.same(decideOutbound(broken, mail()), {
    kind: 'seal',
    rule: 'default',
    terms: { ttlSeconds: 30 * DAY, proof: 'code' },
    observed: [{ rule: 'error-in:odd', would: 'refuse' }],
  })
})

t.test('each condition sees its fact', async (t) => {
  const cases: [condition: string, given: Parameters<typeof mail>[0]][] = [
    ["message.headers.get('Sensitivity').exists(v, v == 'Private')", { headers: { sensitivity: 'Private' } }],
    ["'x-class' in message.headers", { headers: { 'X-Class': ['a', 'b'] } }],
    ["message.headers.get('x-class') == ['a', 'b']", { headers: { 'X-Class': ['a', 'b'] } }],
    ["message.headers.get('constructor').size() > 0", { headers: { Constructor: 'x' } }],
    [
      "message.attachments.exists(a, a.name.lowerAscii().endsWith('.exe'))",
      { attachments: [{ name: 'A.EXE', type: 'x/y' }] },
    ],
    [
      "message.attachments.all(a, a.type == 'x/y') && message.attachments.size() == 1",
      { attachments: [{ name: 'a', type: 'x/y' }] },
    ],
    ['message.size > 5000', { size: 5001 }],
    ['message.size >= 5000.5', { size: 5001 }],
    ["message.from.exists(a, a.endsWith('@example.net'))", { from: ['news@example.net'] }],
    ['message.foreignFrom', { from: ['anna@acme.example', 'news@example.net'] }],
    ['message.nullSender && message.sender == "" && message.senderDomain == ""', { sender: '' }],
    ["message.subject.matches(r'^Re: \\d+$')", { subject: 'Re: 42' }],
    ["'secure' in message.tags", { subject: 'x [Secure] y' }],
    ["recipient.address == 'anna@xn--bcher-kva.example'", { to: 'Anna@Bücher.example' }],
    ["inDomain(recipient.domain, 'Example.net')", { to: 'a@mail.example.net' }],
    ["inDomain(recipient.domain, 'example.net')", { to: 'a@example.net' }],
    ['recipient.internal', { to: 'bert@acme.example' }],
    ["message.calendar in ['reply', 'cancel']", { calendar: 'cancel' }],
    ['message.ttlWish == 3600', { wish: '1h' }],
    ['message.report', { report: true }],
    ['message.autoReply', { autoReply: true }],
    ['message.list', { list: true }],
    ['message.signed', { signed: true }],
    ['message.encrypted', { encrypted: true }],
    ['message.malformed', { malformed: true }],
    ["client.identity == 'printer'", { client: { identity: 'printer' } }],
    ["client.ip.startsWith('192.0.2.')", { client: { ip: '192.0.2.9' } }],
    ['!client.tls', { client: { tls: false } }],
  ]
  for (const [condition, given] of cases) {
    const policy = policyOf({ outbound: [`{ name: it, when: ${JSON.stringify(condition)}, then: pass }`] })
    t.match(decideOutbound(policy, mail(given)), { kind: 'pass', rule: 'it' }, condition)
    t.match(decideOutbound(policy, mail()), { kind: 'seal', rule: 'default' }, `${condition}: not an ordinary mail`)
  }
  const near = policyOf({ outbound: ['{ name: it, when: "inDomain(recipient.domain, \'example.net\')", then: pass }'] })
  t.match(decideOutbound(near, mail({ to: 'a@notexample.net' })), { kind: 'seal' }, 'a longer name is no subdomain')
})

t.test('a group holds its addresses, and all addresses of its domains', async (t) => {
  const groups = '{ board: [Chair@Acme.example, holding.example, bücher.example], empty: [] }'
  const rules = ["'board' in recipient.groups", "'board' in message.senderGroups && !('empty' in recipient.groups)"]
  const [to, from] = rules.map((when) => policyOf({ groups, outbound: [`{ name: it, when: "${when}", then: pass }`] }))
  if (to === undefined || from === undefined) throw new Error('two policies')
  const members = ['chair@acme.example', 'anyone@HOLDING.example', 'a@xn--bcher-kva.example']
  for (const address of members) {
    t.match(decideOutbound(to, mail({ to: address })), { kind: 'pass' }, address)
    t.match(decideOutbound(from, mail({ sender: address })), { kind: 'pass' }, address)
  }
  for (const address of ['other@acme.example', 'a@sub.holding.example', 'holding.example@example.org']) {
    t.match(decideOutbound(to, mail({ to: address })), { kind: 'seal', rule: 'default' }, address)
  }
  t.match(decideOutbound(from, mail({ sender: '' })), { kind: 'seal', rule: 'default' }, 'nobody is in no group')
})

t.test('a text too long for a regular expression is an error, not a wait', async (t) => {
  const policy = policyOf({ outbound: ['{ name: it, when: "message.subject.matches(\'(a*)*b\')", then: pass }'] })
  t.match(decideOutbound(policy, mail({ subject: 'a'.repeat(20_000) })), { kind: 'seal', rule: 'error-in:it' })
  const before = performance.now()
  t.match(decideOutbound(policy, mail({ subject: 'a'.repeat(16_000) })), { kind: 'seal', rule: 'default' })
  t.ok(performance.now() - before < 1000, 'linear time')
})

t.test('the notice is what the rule says, else what the file says, else English', async (t) => {
  const notices = '{ ours: { language: nl, text: "Hier: {link}", html: \'<p><a href="{link}">{link}</a></p>\' } }'
  const policy = policyOf({
    notices,
    sealing: '{ notice: [de, en] }',
    outbound: [
      '{ name: fr, when: message.list, then: seal, notice: fr }',
      '{ name: en, when: message.report, then: seal, notice: en }',
      '{ name: own, when: message.signed, then: seal, notice: ours }',
    ],
  })
  t.match(decideOutbound(policy, mail()), { notice: { name: 'de, en', languages: ['de', 'en'], own: null } })
  t.match(decideOutbound(policy, mail({ list: true })), { notice: { languages: ['fr'] } })
  t.notHas(decideOutbound(policy, mail({ report: true })), 'notice')
  t.match(decideOutbound(policy, mail({ signed: true })), {
    notice: { name: 'ours', languages: ['nl'], own: { text: 'Hier: {link}' } },
  })
  t.notHas(decideOutbound(policyOf({}), mail()), 'notice')
})

t.test('a rule that asks nothing about the recipient is worked out once a mail, one that does for each', async (t) => {
  const policy = policyOf({
    outbound: [
      `{ name: same, when: "message.attachments.exists(a, a.name == 'x')", then: refuse, because: No. }`,
      `{ name: own, when: "recipient.address == 'bob@example.org'", then: pass }`,
      `{ name: both, when: "message.report && recipient.domain == 'example.net'", then: pass }`,
    ],
  })
  let asked = 0
  const counted = {
    ...policy,
    outbound: policy.outbound.map((rule) => {
      const evaluate: typeof rule.condition.evaluate = (bindings) => {
        asked += rule.name === 'same' ? 1 : 0
        return rule.condition.evaluate(bindings)
      }
      return { ...rule, condition: { ...rule.condition, evaluate } }
    }),
  }
  const seen = new Map()
  const verdicts = ['bob@example.org', 'eva@example.net', 'bob@example.org'].map(
    (to) => decideOutbound(counted, mail({ to, report: true }), seen).rule,
  )
  t.strictSame(verdicts, ['own', 'both', 'own'])
  t.equal(asked, 1)
})

t.test('what a scanner did not find clean leaves only by a rule that asks what it said', async (t) => {
  const rules = [
    `{ name: large-inside, when: "message.scan.verdict == 'too-large' && recipient.internal", then: pass }`,
    `{ name: trial, when: "message.scan.verdict == 'infected'", then: pass, observe: true }`,
    `{ name: internal, when: recipient.internal, then: pass }`,
    `{ name: reports, when: message.report, then: refuse, because: No reports. }`,
    `{ name: broken, when: "${BROKEN}", then: pass }`,
  ]
  const policy = policyOf({ outbound: rules })
  const decided = (verdict: 'none' | 'clean' | 'infected' | 'too-large', given: Parameters<typeof mail>[0] = {}) =>
    decideOutbound(policy, mail({ wish: '1d', ...given, scan: { verdict, name: 'Evil' } }))
  const to = 'bert@acme.example'
  for (const verdict of ['none', 'clean'] as const) {
    t.match(decided(verdict), { kind: 'seal', rule: 'default' })
    t.match(decided(verdict, { to }), { kind: 'pass', rule: 'internal' })
  }
  const refused = { kind: 'refuse', rule: 'scanner', scan: 'infected', because: /something harmful.*: Evil$/ }
  t.match(decided('infected'), refused)
  t.match(decided('infected', { to }), refused, 'a rule that does not ask, and one that only observes, let nothing go')
  t.match(decided('too-large', { to }), { kind: 'pass', rule: 'large-inside' })
  t.match(decided('too-large'), { kind: 'refuse', rule: 'scanner', scan: 'too-large' })
  t.match(
    decided('infected', { report: true }),
    { rule: 'reports', because: 'No reports.' },
    'a rule that refuses says why',
  )
  t.match(
    decideOutbound(policy, mail({ scan: { verdict: 'infected' } })),
    { rule: 'scanner' },
    'an error lets nothing go',
  )
})

t.test('the link of an own notice may have a style, and nothing else beside it', async (t) => {
  const withHtml = (html: string) =>
    policyOf({ notices: `{ ours: { language: en, text: "{link}", html: ${JSON.stringify(html)} } }` })
  t.ok(withHtml(`<P><A href='{link}' style="color:#00447c">{link}</a></p>`))
  for (const html of [
    '<a href="{link}">Open</a>',
    '<a href="{link}" href="https://evil.example">{link}</a>',
    '<a href="{link}" onclick="x">{link}</a>',
    '<a href="{link}x">{link}</a>',
    '<a href="javascript:x">{link}</a><a href="{link}">{link}</a>',
    '<a href="{link}">{link}</a><svg onload=x>',
    '<a href="{link}">{link}</a><p style="x:expression(y)">',
    '<a href="{link}">{link}</a><!-- x -->',
    '<a href="{link}">{link}</a></div>',
    '<a href="{link}">{link}</a><p style="background:u\\\\72l(x)"></p>',
    '<a href="{link}">{link}</a> or mailto:x',
  ]) {
    t.throws(() => withHtml(html), html)
  }
})
