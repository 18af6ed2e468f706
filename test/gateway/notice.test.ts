import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import t from 'tap'
import { createComposer } from '../../gateway/compose.ts'
import { loadNoticeTemplates, type NoticeFacts, plainExpiry, renderNotice } from '../../gateway/notice.ts'
import type { Address } from '../../protocol/identifiers.ts'
import { acme, copyOf, envelopeId, octetsOf, partsOf } from './sealed-mail.ts'

const templates = await loadNoticeTemplates()
const link = `https://mail.acme.example/m/${envelopeId}`
const facts: NoticeFacts = {
  org: acme,
  organization: 'Acme Tools',
  sender: 'anna@acme.example' as Address,
  link,
  expiresAt: '2026-12-22T14:05:00Z',
  openers: ['bo@example.org' as Address, 'cy@example.net' as Address],
  attached: true,
  now: new Date('2026-11-22T14:05:00Z'),
}

t.test('text and HTML name sender, organization, link, openers and expiry', async (t) => {
  const notice = renderNotice(templates, facts)
  const expected = ['anna@acme.example', 'Acme Tools', 'acme.example', link, 'bo@example.org', 'cy@example.net']
  for (const text of [notice.text, notice.html]) {
    for (const word of expected) t.ok(text.includes(word), word)
    t.match(text, 'Tuesday, 22 December 2026, 14:05 UTC (30 days after it was sent)')
    t.match(text, 'begins with https://mail.acme.example/ and with nothing else')
    t.match(text, 'never ask for a password')
    t.notMatch(text, /\{\{|undefined|[^\r\n\x20-\x7e]/)
  }
})

t.test('the only link is the link, its text is its target, and nothing is loaded', async (t) => {
  const { html } = renderNotice(templates, facts)
  const anchors = [...html.matchAll(/<a [^>]*href="([^"]*)"[^>]*>([^<]*)<\/a>/g)]
  t.same(
    anchors.map(([, target, text]) => [target, text]),
    [[link, link]],
  )
  t.notMatch(html, /<(?:img|script|style|link|iframe|form|input|object)|url\(|src=|@import/i)
})

t.test('expiry is said in days, hours or minutes, whichever is plain', async (t) => {
  const now = new Date('2026-11-22T14:05:00Z')
  t.match(plainExpiry('2026-11-29T14:05:00Z', now), '(7 days after it was sent)')
  t.match(plainExpiry('2026-11-23T20:05:00Z', now), 'Monday, 23 November 2026, 20:05 UTC (30 hours after')
  t.match(plainExpiry('2026-11-22T14:45:00Z', now), '(40 minutes after')
})

t.test('no value of a mail becomes markup, and display names are never shown', async (t) => {
  const hostile = {
    ...facts,
    organization: '<b>&"\'\r\n</p><script>x</script>',
    sender: '"<img/src=x>"@acme.example' as Address,
    openers: ['a&lt;b@example.org' as Address, "o'<i>@example.org" as Address],
  }
  const { html, text } = renderNotice(templates, hostile)
  t.notMatch(html, /<(?:script|img|i>)|o'/)
  t.match(html, '&#60;b&#62;&#38;&#34;&#39;')
  t.match(html, 'a&#38;lt;b@example.org')
  t.notMatch(text, /\n<\/p>/)
  const composer = createComposer(templates)
  const message =
    'From: "https://evil.example/" <anna@acme.example>\r\nTo: "http://evil.example/x" <bo@example.org>\r\n\r\n'
  const mail = (await octetsOf(composer.sealed(partsOf(message)))).toString('latin1')
  t.notMatch(mail.slice(mail.indexOf('\r\n\r\n')), 'evil.example')
})

t.test('blind recipients are not named, and neither is who cannot open it', async (t) => {
  const composer = createComposer(templates)
  const recipients = ['bo@example.org', 'blind@example.org', 'cy@example.net'] as Address[]
  const message = 'To: bo@EXAMPLE.org, other@example.com\r\nCc: g: Cy <cy@example.net>;\r\n\r\n'
  const mail = (await octetsOf(composer.sealed(partsOf(message, { recipients })))).toString('latin1')
  const body = mail.slice(mail.indexOf('\r\n\r\n'))
  t.match(body, '- bo@example.org\r\n- cy@example.net\r\n')
  t.notMatch(body, /blind|other/)
  const none = (await octetsOf(composer.sealed(partsOf('Subject: x\r\n\r\n', { recipients })))).toString('latin1')
  t.match(none, 'only the addresses that this mail was sent to')
})

t.test('a long list is counted, not printed', async (t) => {
  const openers = Array.from({ length: 40 }, (_, i) => `p${i}@example.org` as Address)
  t.match(renderNotice(templates, { ...facts, openers }).text, '- p24@example.org\r\n- and 15 more\r\n')
})

t.test('what the system sends for nobody says so', async (t) => {
  t.match(renderNotice(templates, { ...facts, sender: null }).text, 'the mail system of acme.example sent you')
})

const spamassassin = '/usr/bin/spamassassin'
const absent = existsSync(spamassassin) ? false : 'spamassassin is absent: skipped'

t.test('SpamAssassin without its network tests gives less than 2.0', { skip: absent, timeout: 60_000 }, async (t) => {
  const composer = createComposer(templates)
  const header =
    'From: Anna <anna@acme.example>\r\nTo: bo@example.org\r\nSubject: Figures for the third quarter\r\n' +
    'Date: Sun, 22 Nov 2026 14:04:58 +0000\r\nMessage-ID: <0123456789abcdef@acme.example>\r\n\r\n'
  for (const sealed of [copyOf(20_000), null]) {
    const now = new Date()
    const dated = header.replace(/Date: [^\r]*/, `Date: ${now.toUTCString().replace('GMT', '+0000')}`)
    const received = `from mua.acme.example ([10.1.2.7])\r\n\tby gw.acme.example with ESMTPS id x;\r\n\t${now.toUTCString().replace('GMT', '+0000')}`
    const mail = await octetsOf(composer.sealed(partsOf(dated, { sealed, received, now })))
    const { stdout } = spawnSync(spamassassin, ['-L', '-t'], { input: mail, encoding: 'utf8' })
    const given = Number(/^X-Spam-Status: \w+, score=(-?[\d.]+)/m.exec(stdout)?.[1])
    // The rebate for mail that passed no foreign network is not ours.
    const score = given + (stdout.includes('ALL_TRUSTED') ? 1 : 0)
    t.ok(score < 2, `score ${score} ${/tests=[\w,\s]*/.exec(stdout)?.[0].replace(/\s+/g, '')}`)
  }
})
