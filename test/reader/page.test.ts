import { readFile } from 'node:fs/promises'
import { AxeBuilder } from '@axe-core/playwright'
import type { Locator, Page, Route } from 'playwright-core'
import t from 'tap'
import { desktop, enterAddress, enterCode, launchBrowser, noBrowser, openPage, phone } from './browser.ts'
import { mail, plain, rich } from './mails.ts'
import { openStage } from './stage.ts'

t.test('the reader page, in a real browser, against the real key server', { skip: noBrowser }, async (t) => {
  t.setTimeout(180_000)
  const stage = await openStage(t)
  const browser = await launchBrowser()
  t.teardown(() => browser.close())

  async function fresh(options: Parameters<typeof openPage>[1] = {}) {
    const watched = await openPage(browser, options)
    t.teardown(() => watched.context.close())
    return watched
  }

  /** A page on which this address is proven already. */
  async function proven(address = 'bea@example.org', options: Parameters<typeof openPage>[1] = {}) {
    const watched = await fresh(options)
    const { link } = await stage.seal(plain, { recipients: [address], sender: 'first@acme.example' })
    await watched.page.goto(link)
    await prove(watched.page, address)
    await watched.page.locator('article').waitFor()
    return watched
  }

  async function prove(page: Page, address: string) {
    const before = stage.house.mails.length
    await enterAddress(page, address)
    await enterCode(page, await stage.code(before))
  }

  const titleOf = (page: Page) => page.locator('.refusal h1').textContent()

  let shared: ReturnType<typeof proven> | null = null
  /** One page on which bea@example.org is proven, for the tests that only look. */
  const beaPage = async () => {
    shared ??= proven()
    return (await shared).page
  }

  t.test('a link leads by address and code to the text, and a second link needs no code', async (t) => {
    const { page, requests, errors } = await fresh()
    const { link } = await stage.seal(plain)
    await page.goto(link)
    t.same(
      requests.filter((url) => url.includes('/v1/')),
      [],
      'looking at the page asks the server for nothing',
    )
    await prove(page, 'Bea@Example.org')
    const letter = page.locator('article')
    await letter.waitFor()
    t.equal(await page.locator('h1').textContent(), 'The papers for the flat')
    t.equal(await page.title(), 'The papers for the flat')
    t.match(
      await letter.textContent(),
      /anna@acme\.exampleVerified.*To.*bea@example\.org, Carl <carl@example\.net>.*Cc.*dora@example\.org/s,
    )
    t.match(await letter.textContent(), /Can be opened until\d{1,2} \w+ \d{4}, \d\d:\d\d \(23 hours from now\)/)
    t.match(await page.locator('.text').textContent(), /The rent is 940 € a month/)
    const anchor = page.getByRole('link', { name: 'https://example.org/office?from=monday' })
    t.match(await anchor.getAttribute('rel'), /noopener noreferrer/)
    const second = await stage.seal(mail('From: anna@acme.example', 'Subject: Second', '', 'Once more.'), {
      encoding: 'deflate',
    })
    await page.goto(second.link)
    await page.getByText('Once more.').waitFor()
    t.same(
      errors.filter((error) => !error.includes('401')),
      [],
      'nothing failed but the first proof, which has no nonce yet',
    )
    await page.getByRole('button', { name: 'Forget me on this device' }).click()
    await page.getByText('You are forgotten here').waitFor()
    await page.goto(second.link)
    await page.getByLabel('Your e-mail address').waitFor()
  })

  t.test('an address that ASCII cannot carry is typed like any other', async (t) => {
    const { page } = await proven('юлия@пример.example')
    t.equal(await page.locator('h1').textContent(), 'The papers for the flat')
  })

  t.test('a wrong code says how many tries are left, and then asks for a new one', async (t) => {
    const { page } = await fresh()
    await page.goto((await stage.seal(plain)).link)
    const before = stage.house.mails.length
    await enterAddress(page, 'bea@example.org')
    await stage.code(before)
    await enterCode(page, '1234')
    t.match(await page.getByRole('alert').textContent(), /8 digits/)
    for (const left of ['4 tries are', '3 tries are', '2 tries are', 'One try is']) {
      await enterCode(page, '0000 0000')
      await page.getByText(`That is not the code. ${left} left.`).waitFor()
    }
    await enterCode(page, '00000000')
    t.match(await titleOf(page), /can no longer be used|Too many tries/)
  })

  t.test('a stranger sees the same steps, and gets no code', async (t) => {
    const { page } = await fresh()
    await page.goto((await stage.seal(plain)).link)
    const before = stage.house.mails.length
    await enterAddress(page, 'stranger@example.net')
    await page.getByText('No code has come?').click()
    t.match(await page.locator('details').textContent(), /only ever sent to the addresses that the sender wrote to/)
    t.equal(stage.house.mails.length, before)
  })

  t.test('a proven person who is no recipient is told so, and can use another address', async (t) => {
    const { page } = await proven('carl@example.net')
    const { link } = await stage.seal(plain, { recipients: ['bea@example.org'] })
    await page.goto(link)
    t.equal(await titleOf(page), 'This message does not open for this address')
    t.match(await page.locator('.refusal').textContent(), /carl@example\.net/)
    await page.getByRole('button', { name: 'Use another address' }).click()
    await prove(page, 'bea@example.org')
    await page.locator('article').waitFor()
  })

  t.test('an expired message says when it expired', async (t) => {
    const page = await beaPage()
    const { link } = await stage.seal(plain, { ttlSeconds: 60 })
    stage.house.advance(120_000)
    await page.goto(link)
    t.equal(await titleOf(page), 'This message has expired')
    t.match(await page.locator('.refusal').textContent(), /ended on \d{1,2} \w+ \d{4}, \d\d:\d\d/)
  })

  t.test('the sender revokes with a question before it, and then it opens for nobody', async (t) => {
    const { link } = await stage.seal(plain)
    const anna = await proven('anna@acme.example')
    await anna.page.goto(link)
    await anna.page.getByRole('button', { name: 'Revoke this message' }).click()
    await anna.page.getByRole('button', { name: 'Keep it' }).click()
    await anna.page.getByRole('button', { name: 'Revoke this message' }).click()
    await anna.page.getByRole('button', { name: 'Yes, revoke it' }).click()
    await anna.page.getByText('The message is revoked').waitFor()
    const page = await beaPage()
    await page.goto(link)
    t.equal(await titleOf(page), 'This message was revoked')
    t.match(await page.locator('.refusal').textContent(), /took it back on \d/)
  })

  t.test('a recipient has no button to revoke', async (t) => {
    const page = await beaPage()
    t.equal(await page.getByRole('button', { name: /Revoke/ }).count(), 0)
  })

  t.test('the attachment opens by file picker and by drop, with and without a link', async (t) => {
    const page = await beaPage()
    const { id, octets, link } = await stage.seal(plain)
    stage.removeCopy(id)
    await page.goto(link)
    t.equal(await titleOf(page), 'Please open the attached file')
    const [chooser] = await Promise.all([
      page.waitForEvent('filechooser'),
      page.getByRole('button', { name: 'Choose the file' }).click(),
    ])
    const file = {
      name: 'protected-message.sealpost',
      mimeType: 'application/octet-stream',
      buffer: Buffer.from(octets),
    }
    await chooser.setFiles(file)
    await page.getByText('The rent is 940').waitFor()

    await page.goto(`${stage.origin}/open`)
    await dropFile(page, Buffer.from('From: anna@acme.example\r\n\r\nnot sealed'))
    await page.getByText('This is not a protected message.').waitFor()
    await dropFile(page, file.buffer)
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('a server that cannot be reached uses nothing up, and trying again goes on', async (t) => {
    const page = await beaPage()
    const { link } = await stage.seal(plain)
    await page.route('**/v1/**', (route) => route.abort())
    await page.goto(link)
    t.equal(await titleOf(page), 'We cannot reach the server')
    t.match(await page.locator('.refusal').textContent(), /Nothing was used up/)
    await page.unroute('**/v1/**')
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('while no store of sealed copies can be reached, the attached file still opens', async (t) => {
    const page = await beaPage()
    const { link, octets } = await stage.seal(plain)
    await page.route(`${stage.copiesOrigin}/**`, (route) => route.abort())
    await page.goto(link)
    t.equal(await titleOf(page), 'We cannot fetch the message')
    const [chooser] = await Promise.all([
      page.waitForEvent('filechooser'),
      page.getByRole('button', { name: 'Choose the file' }).click(),
    ])
    await chooser.setFiles({ name: 'protected-message (1).txt', mimeType: 'text/plain', buffer: Buffer.from(octets) })
    await page.getByText('The rent is 940').waitFor()
    await page.unroute(`${stage.copiesOrigin}/**`)
  })

  t.test('a message that comes late does not take the place of the file that was opened meanwhile', async (t) => {
    const page = await beaPage()
    const { link } = await stage.seal(plain)
    const { octets } = await stage.seal(mail('Subject: Dropped', '', 'The file.'))
    const asked = Promise.withResolvers<Route>()
    await page.route(`${stage.copiesOrigin}/**`, (route) => asked.resolve(route))
    await page.goto(link)
    const late = await asked.promise
    await dropFile(page, Buffer.from(octets))
    await page.getByText('The file.').waitFor()
    await late.continue()
    await page.waitForTimeout(1000)
    t.equal(await page.locator('h1').textContent(), 'Dropped')
    await page.unroute(`${stage.copiesOrigin}/**`)
  })

  t.test('a copy that was altered is not shown, and a whole one at the next try is', async (t) => {
    const page = await beaPage()
    const { id, octets, link } = await stage.seal(plain)
    const altered = Buffer.from(octets)
    altered[altered.length - 40] = (altered[altered.length - 40] ?? 0) ^ 1
    stage.replaceCopy(id, altered)
    await page.goto(link)
    t.equal(await titleOf(page), 'This message is damaged')
    stage.replaceCopy(id, octets)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('a copy of another message under this link is not shown', async (t) => {
    const page = await beaPage()
    const [one, other] = [await stage.seal(plain), await stage.seal(rich)]
    stage.replaceCopy(one.id, other.octets)
    await page.goto(one.link)
    t.equal(await titleOf(page), 'This message is damaged')
  })

  t.test('the From of the message is shown as unverified where it is not the proven sender', async (t) => {
    const page = await beaPage()
    await page.goto((await stage.seal(plain.replace('Anna Example <anna@', 'The Director <director@'))).link)
    const claimed = page.locator('.doubtful')
    t.match(await claimed.textContent(), /The Director <director@acme\.example>.*It was not verified/)
    t.match(await page.locator('dd').first().textContent(), /^anna@acme\.exampleVerified/)
  })

  t.test('attachments and the whole message are saved octet for octet', async (t) => {
    const page = await beaPage()
    await page.goto((await stage.seal(rich)).link)
    const save = async (name: string) => {
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()])
      return { name: download.suggestedFilename(), octets: await readFile(await download.path()) }
    }
    const pdf = await save('Save Contract 2027.pdf')
    t.equal(pdf.name, 'Contract 2027.pdf')
    t.equal(pdf.octets.toString(), '%PDF-1.4 not a real one '.repeat(2000))
    const whole = await save('Save the whole message (.eml)')
    t.equal(whole.name, 'Your contract – please read.eml')
    t.equal(whole.octets.toString(), rich)
  })

  t.test('HTML is shown with its styles and inline pictures, in a frame that the page cannot reach into', async (t) => {
    const page = await beaPage()
    await page.goto((await stage.seal(rich)).link)
    const frame = page.frameLocator('iframe')
    t.equal(await frame.locator('h2').evaluate((one) => getComputedStyle(one).color), 'rgb(20, 102, 90)')
    t.equal(await frame.getByText('hidden').isVisible(), false)
    t.match(await frame.locator('img').getAttribute('src'), /^data:image\/png;base64,/)
    t.ok(await frame.locator('img').evaluate((one) => (one as HTMLImageElement).naturalWidth > 0))
    t.equal(await page.locator('iframe').getAttribute('sandbox'), 'allow-popups allow-popups-to-escape-sandbox')
    t.equal(await page.locator('iframe').evaluate((one) => (one as HTMLIFrameElement).contentDocument), null)
    await page.getByRole('button', { name: 'Show as plain text' }).click()
    t.equal(await page.locator('iframe').isVisible(), false)
    t.ok(await page.getByText('The contract is attached.').isVisible())
  })

  t.test('on paper a formatted message is there to its last line', async (t) => {
    const page = await beaPage()
    const parts = [
      Array.from({ length: 120 }, (_, i) => `<p>Clause ${i} ${'of the contract '.repeat(12)}</p>`).join(''),
      `<table width="600"><tr>${`<td style="font-size:20px">${'a narrow column '.repeat(200)}</td>`.repeat(3)}</tr></table>`,
      `<pre>${Array.from({ length: 300 }, (_, i) => `line ${i}`).join('\n')}</pre>`,
    ]
    for (const part of parts) {
      await page.goto((await stage.seal(mail('Content-Type: text/html', '', part, '<p>The end.</p>'))).link)
      await page.locator('article').waitFor()
      await page.locator('.gauge').waitFor({ state: 'detached' })
      await page.setViewportSize({ width: 718, height: 1000 })
      await page.emulateMedia({ media: 'print' })
      const end = page.frameLocator('iframe').getByText('The end.')
      const { bottom, height } = await end.evaluate((one) => ({
        bottom: one.getBoundingClientRect().bottom,
        height: innerHeight,
      }))
      t.ok(bottom <= height, `ends at ${bottom} of ${height}`)
      t.ok(height < bottom * 1.4 + 100, 'with few empty pages behind it')
      await page.emulateMedia({ media: 'screen' })
      await page.setViewportSize(desktop)
    }
  })

  t.test('text runs in its own direction, and stands on the ground that it was written for', async (t) => {
    const page = await beaPage()
    const html = async (text: string) => {
      const message = mail('From: anna@acme.example', 'Content-Type: text/html; charset=utf-8', '', text)
      await page.goto((await stage.seal(message)).link)
      await page.locator('article').waitFor()
      return page.frameLocator('iframe').locator('p')
    }
    const styleOf = (of: Locator, name: 'direction' | 'color' | 'backgroundColor') =>
      of.evaluate((one, name) => getComputedStyle(one)[name], name)
    const [hebrew, arabic] = ['\u05e9\u05dc\u05d5\u05dd (2)!', '\u0645\u0631\u062d\u0628\u0627.']
    t.equal(await styleOf(await html(`<body dir="rtl"><p>${hebrew}</p></body>`), 'direction'), 'rtl')
    const wholly = await html(`<html dir="rtl" lang="ar"><body><p>${arabic}</p></body></html>`)
    t.equal(await styleOf(wholly, 'direction'), 'rtl')
    t.ok(await wholly.evaluate((one) => one.matches(':lang(ar)')))
    const light = await html('<body bgcolor="#101010" text="white"><p>light on dark</p></body>')
    t.equal(await styleOf(light, 'color'), 'rgb(255, 255, 255)')
    t.equal(await styleOf(light.locator('..'), 'backgroundColor'), 'rgb(16, 16, 16)')
    const subject = `Subject: =?utf-8?b?${Buffer.from(hebrew).toString('base64')}?=`
    const plainText = mail(subject, 'Content-Type: text/plain; charset=utf-8', '', hebrew, 'https://example.org/x?y=1')
    await page.goto((await stage.seal(plainText)).link)
    for (const place of ['.text', 'h1']) {
      t.equal(await styleOf(page.locator(place), 'direction'), 'rtl', place)
      t.notOk(await page.locator(place).evaluate((one) => one.matches(':lang(en)')), `${place} is not called English`)
    }
    t.equal(await styleOf(page.locator('.text a'), 'direction'), 'ltr', 'an address')
    // Laying out each paragraph in a direction of its own takes a browser minutes where one is as long as this.
    await page.goto((await stage.seal(mail('Subject: Long', '', 'x'.repeat(3_000_000)))).link)
    await page.locator('article').waitFor()
  })

  t.test('what cannot be shown is offered as a file', async (t) => {
    const page = await beaPage()
    const smime = mail(
      'From: anna@acme.example',
      'Subject: Secret',
      'Content-Type: application/pkcs7-mime; smime-type=enveloped-data',
      '',
      'AAAA',
    )
    const deep = mail(
      'Subject: Deep',
      ...Array.from({ length: 200 }, (_, i) => [`Content-Type: multipart/mixed; boundary=b${i}`, '', `--b${i}`]).flat(),
      '',
      'x',
    )
    for (const [message, words] of [
      [smime, 'with S/MIME'],
      [deep, 'cannot be shown here'],
    ] as const) {
      await page.goto((await stage.seal(message)).link)
      await page.getByText(words).waitFor()
      t.ok(await page.getByRole('button', { name: 'Save the whole message (.eml)' }).isVisible(), words)
    }
  })

  t.test('every step works by keyboard alone on a small phone, and nothing is wider than the screen', async (t) => {
    const { page } = await fresh({ viewport: phone })
    const { link } = await stage.seal(rich)
    const fits = async (step: string) => {
      const width = await page.evaluate(() => document.documentElement.scrollWidth)
      t.ok(width <= phone.width, `${step}: ${width} wide`)
    }
    await page.goto(link)
    await page.getByLabel('Your e-mail address').waitFor()
    await fits('address')
    const before = stage.house.mails.length
    await page.keyboard.type('bea@example.org')
    await page.keyboard.press('Enter')
    await page.getByLabel('Code from the mail').waitFor()
    await fits('code')
    await page.keyboard.type(await stage.code(before))
    await page.keyboard.press('Enter')
    await page.locator('article').waitFor()
    await fits('message')
    t.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1', 'the focus is on the subject')
    const reached: string[] = []
    // How many stops the frame has depends on whether the browser lets it be scrolled: its links, and perhaps itself.
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab')
      reached.push(
        (
          await page.evaluate(
            () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '',
          )
        ).trim(),
      )
    }
    for (const name of ['Show as plain text', 'Save Contract 2027.pdf', 'Save rent.csv'])
      t.ok(reached.includes(name), name)
  })

  t.test('long addresses and text of twice the size stay within a small phone', async (t) => {
    const person = 'the-whole-department-for-building-permits.second-floor@town-hall.example.org'
    const { page } = await fresh({ viewport: phone })
    const inside = async (step: string) => {
      await page.evaluate(() => document.documentElement.style.setProperty('font-size', '200%'))
      const out = await page.evaluate(() =>
        [...document.querySelectorAll('main p, main button, main dd, main h1')]
          .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth && clientWidth > 0)
          .concat(
            [...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > innerWidth),
          )
          .map((one) => one.outerHTML),
      )
      t.same(out, [], step)
    }
    await page.goto((await stage.seal(rich, { recipients: [person] })).link)
    const before = stage.house.mails.length
    await enterAddress(page, person)
    const code = await stage.code(before)
    await page.getByText('No code has come?').click()
    await inside('code')
    await enterCode(page, code)
    await page.locator('article').waitFor()
    await inside('message')
    await page.goto((await stage.seal(plain)).link)
    await page.locator('.refusal').waitFor()
    await inside('refusal')
  })

  t.test('no step has a fault that axe knows, in light and in dark', async (t) => {
    for (const dark of [false, true]) {
      const { page } = await fresh({ dark, viewport: phone })
      const check = async (step: string) => {
        const { violations } = await new AxeBuilder({ page }).exclude('iframe').analyze()
        t.same(
          violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`),
          [],
          `${step}, ${dark ? 'dark' : 'light'}`,
        )
      }
      await page.goto((await stage.seal(rich)).link)
      await page.getByLabel('Your e-mail address').waitFor()
      await check('address')
      const before = stage.house.mails.length
      await enterAddress(page, 'bea@example.org')
      await page.getByText('No code has come?').click()
      await check('code')
      await enterCode(page, await stage.code(before))
      await page.locator('article').waitFor()
      await check('message')
      if (dark) continue
      await page.goto((await stage.seal(plain, { recipients: ['dora@example.org'] })).link)
      await page.locator('.refusal').waitFor()
      await check('refusal')
    }
  })

  t.test('the text of a 100 KB mail is there soon after the link is opened, with a session', async (t) => {
    const page = await beaPage()
    const long = mail(
      'From: anna@acme.example',
      'Subject: Long',
      '',
      ...Array.from({ length: 1400 }, (_, i) => `Line ${i} ${'word '.repeat(13)}`),
    )
    const { link } = await stage.seal(long)
    await page.goto(link)
    await page.locator('article').waitFor()
    const shown = await page.evaluate(() => performance.now())
    t.comment(`${Math.round(shown)} ms`)
    t.ok(shown < 3000, 'with room for a busy machine')
  })
})

async function dropFile(page: Page, octets: Buffer): Promise<void> {
  await page.getByRole('heading').waitFor()
  await page.evaluate((base64) => {
    const binary = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
    const transfer = new DataTransfer()
    transfer.items.add(new File([binary], 'protected-message.sealpost'))
    for (const type of ['dragover', 'drop']) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }))
    }
  }, octets.toString('base64'))
}
