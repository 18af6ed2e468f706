import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { createComposer } from '../../gateway/compose.ts'
import { type NoticeFacts, renderNotice } from '../../gateway/notice.ts'
import { plainExpiry } from '../../gateway/notice-expiry.ts'
import { loadNoticeTemplates } from '../../gateway/notice-template.ts'
import type { Address } from '../../protocol/identifiers.ts'
import { defaultNotice, type NoticeChoice, noticeLanguages } from '../../rulebook/index.ts'
import { acme, copyOf, envelopeId, octetsOf, partsOf } from './sealed-mail.ts'

const templates = await loadNoticeTemplates()
const english = templates.of(defaultNotice)
const builtIn = (...languages: NoticeChoice['languages']): NoticeChoice => ({
  name: languages.join(', '),
  languages,
  own: null,
})
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
  const notice = renderNotice(english, facts)
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
  const { html } = renderNotice(english, facts)
  const anchors = [...html.matchAll(/<a [^>]*href="([^"]*)"[^>]*>([^<]*)<\/a>/g)]
  t.same(
    anchors.map(([, target, text]) => [target, text]),
    [[link, link]],
  )
  t.notMatch(html, /<(?:img|script|style|link|iframe|form|input|object)|url\(|src=|@import/i)
})

t.test('expiry is said in days, hours or minutes, whichever is plain', async (t) => {
  const now = new Date('2026-11-22T14:05:00Z')
  t.match(plainExpiry('en', '2026-11-29T14:05:00Z', now), '(7 days after it was sent)')
  t.match(plainExpiry('en', '2026-11-23T20:05:00Z', now), 'Monday, 23 November 2026, 20:05 UTC (30 hours after')
  t.match(plainExpiry('en', '2026-11-22T14:45:00Z', now), '(40 minutes after')
})

t.test('no value of a mail becomes markup, and display names are never shown', async (t) => {
  const hostile = {
    ...facts,
    organization: '<b>&"\'\r\n</p><script>x</script>',
    sender: '"<img/src=x>"@acme.example' as Address,
    openers: ['a&lt;b@example.org' as Address, "o'<i>@example.org" as Address],
  }
  const { html, text } = renderNotice(english, hostile)
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
  t.match(renderNotice(english, { ...facts, openers }).text, '- p24@example.org\r\n- and 15 more\r\n')
})

t.test('what the system sends for nobody says so', async (t) => {
  t.match(renderNotice(english, { ...facts, sender: null }).text, 'the mail system of acme.example sent you')
})

t.test('every language says the same: who, whose, how long, for whom, and how to tell a false one', async (t) => {
  const expiry: Readonly<Record<string, string>> = {
    en: 'Tuesday, 22 December 2026, 14:05 UTC (30 days after it was sent)',
    de: 'Dienstag, 22. Dezember 2026, 14:05 Uhr UTC (30 Tage nach dem Versand)',
    fr: "mardi 22 décembre 2026 à 14 h 05 UTC (30 jours après l'envoi)",
    es: 'martes, 22 de diciembre de 2026, 14:05 UTC (30 días después del envío)',
    it: "martedì 22 dicembre 2026, ore 14:05 UTC (30 giorni dopo l'invio)",
    nl: 'dinsdag 22 december 2026, 14:05 uur UTC (30 dagen na verzending)',
  }
  for (const language of noticeLanguages) {
    const { text, html } = renderNotice(templates.of(builtIn(language)), facts)
    const expected = ['anna@acme.example', 'Acme Tools (acme.example)', link, 'bo@example.org', 'cy@example.net']
    expected.push('https://mail.acme.example/ ', 'protected-message.sealpost')
    for (const word of expected) {
      t.ok(text.includes(word), `${language}: ${word}`)
      t.ok(html.includes(word), `${language}: ${word} in HTML`)
    }
    t.ok(text.includes(expiry[language] ?? '-'), `${language}: ${expiry[language]}`)
    t.match(html, `<html lang="${language}">`)
    t.equal([...text.matchAll(/^- /gm)].length, 5, `${language}: two openers and three signs of a true notice`)
    t.ok(
      text.split('\r\n').every((line) => line.length <= 100),
      `${language}: short lines`,
    )
    t.notMatch(text + html, /undefined|\{|\}/)
    t.notMatch(html, /<(?:img|script|style|link|iframe|form|input|object)|url\(|src=|@import/i)
  }
})

t.test('the first of a month and a lone minute are said as people say them', async (t) => {
  const now = new Date('2027-01-01T08:00:00Z')
  t.match(
    plainExpiry('fr', '2027-01-01T08:01:00Z', now),
    "vendredi 1er janvier 2027 à 08 h 01 UTC (1 minute après l'envoi)",
  )
  t.match(
    plainExpiry('de', '2027-03-01T08:00:00Z', now),
    'Montag, 1. März 2027, 08:00 Uhr UTC (59 Tage nach dem Versand)',
  )
})

t.test('two languages stand one under the other, each as a whole', async (t) => {
  const { text, html } = renderNotice(templates.of(builtIn('de', 'en')), facts)
  t.ok(text.indexOf('hat Ihnen eine') < text.indexOf('sent you a'))
  t.ok(text.includes('22. Dezember 2026') && text.includes('22 December 2026'))
  t.match(html, /<html lang="de">[\s\S]*<div lang="de"[\s\S]*<hr [\s\S]*<div lang="en"/)
  const composer = createComposer(templates)
  const mail = await octetsOf(composer.sealed(partsOf('To: bo@example.org\r\n\r\n', { notice: builtIn('de', 'en') })))
  t.match(mail.toString('latin1'), '\r\nContent-Language: de, en\r\n')
  t.notMatch(mail.toString('latin1'), /[^\t\r\n\x20-\x7e]|[^\r\n]{999}/, 'in 7-bit ASCII')
  const read = await simpleParser(mail)
  t.match(read.text, 'Öffnen Sie sie in Ihrem Browser:')
  t.match(typeof read.html === 'string' ? read.html : '', 'Öffnen Sie sie in Ihrem Browser:')
})

t.test("an organization's own notice is filled in like ours, and its slots hold no markup", async (t) => {
  const own = {
    text: 'Grüße von {organization}!\n\n{link}\n\nbis {expires}, für:\n{recipients}\n\n{sender}, {domain}, {origin}\n{attachment}\n',
    html: '<p>Grüße von {organization}!</p>\n<p><a href="{link}">{link}</a></p><p>{recipients}</p>{sender}{expires}',
  }
  const template = templates.of({ name: 'ours', languages: ['de'], own })
  const { text, html } = renderNotice(template, { ...facts, organization: 'A & <B>' })
  t.match(text, `Grüße von A & <B>!\r\n\r\n${link}\r\n\r\nbis Dienstag, 22. Dezember 2026`)
  t.match(
    text,
    'für:\r\n- bo@example.org\r\n- cy@example.net\r\n\r\nanna@acme.example, acme.example, https://mail.acme.example/',
  )
  t.match(html, '<p>Grüße von A &#38; &#60;B&#62;!</p>')
  t.match(html, '<p>bo@example.org<br>\r\ncy@example.net</p>anna@acme.exampleDienstag, 22.')
  t.match(html, /^<!DOCTYPE html>\r\n<html lang="de">/)
})

const spamassassin = '/usr/bin/spamassassin'
const absent = existsSync(spamassassin) ? false : 'spamassassin is absent: skipped'

t.test('SpamAssassin without its network tests gives less than 2.0', { skip: absent, timeout: 120_000 }, async (t) => {
  const composer = createComposer(templates)
  const header =
    'From: Anna <anna@acme.example>\r\nTo: bo@example.org\r\nSubject: Figures for the third quarter\r\n' +
    'Date: Sun, 22 Nov 2026 14:04:58 +0000\r\nMessage-ID: <0123456789abcdef@acme.example>\r\n\r\n'
  const scoreOf = async (notice: NoticeChoice, sealed: ReturnType<typeof copyOf> | null) => {
    const now = new Date()
    const dated = header.replace(/Date: [^\r]*/, `Date: ${now.toUTCString().replace('GMT', '+0000')}`)
    const received = `from mua.acme.example ([10.1.2.7])\r\n\tby gw.acme.example with ESMTPS id x;\r\n\t${now.toUTCString().replace('GMT', '+0000')}`
    const mail = await octetsOf(composer.sealed(partsOf(dated, { sealed, received, now, notice })))
    const child = spawn(spamassassin, ['-L', '-t'], { stdio: ['pipe', 'pipe', 'ignore'] })
    child.stdin.end(mail)
    const stdout = await text(child.stdout)
    const given = Number(/^X-Spam-Status: \w+, score=(-?[\d.]+)/m.exec(stdout)?.[1])
    // The rebate for mail that passed no foreign network is not ours.
    const score = given + (stdout.includes('ALL_TRUSTED') ? 1 : 0)
    const tests = /tests=[\w,\s]*/.exec(stdout)?.[0].replace(/\s+/g, '')
    t.ok(score < 2, `${notice.name} ${sealed === null ? 'by link' : 'attached'}: score ${score} ${tests}`)
  }
  await scoreOf(defaultNotice, null)
  for (const notice of [...noticeLanguages.map((language) => builtIn(language)), builtIn('de', 'en')]) {
    await scoreOf(notice, copyOf(20_000))
  }
  await scoreOf(builtIn('fr'), null)
})
