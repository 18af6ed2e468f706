import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { fetchCopy } from '../../reader/copy.ts'
import { enterAddress, enterCode, launchBrowser, noBrowser, openPage } from './browser.ts'
import { mail, plain } from './mails.ts'
import { openStage } from './stage.ts'

t.test('where browser or network fail, the page says what to do', { skip: noBrowser }, async (t) => {
  t.setTimeout(120_000)
  const stage = await openStage(t)
  const browser = await launchBrowser()
  t.teardown(() => browser.close())

  /** A new page at the step that asks for the code, and the code. */
  async function asked(prepare: () => void = () => undefined, message = plain, person = 'bea@example.org') {
    const { page, context, errors } = await openPage(browser)
    t.teardown(() => context.close())
    await page.addInitScript(prepare)
    const { link } = await stage.seal(message, { recipients: [person] })
    await page.goto(link)
    const before = stage.house.mails.length
    await enterAddress(page, person)
    return { page, context, errors, link, code: await stage.code(before) }
  }

  t.test(
    'a browser that keeps nothing, from the start or from one moment on, opens messages all the same',
    async (t) => {
      const refusing = await asked(() => {
        IDBObjectStore.prototype.put = () => {
          throw new DOMException('no keys here', 'DataCloneError')
        }
      })
      await enterCode(refusing.page, refusing.code)
      await refusing.page.getByText('The rent is 940').waitFor()
      const cleared = await asked()
      const devtools = await cleared.context.newCDPSession(cleared.page)
      await devtools.send('Storage.clearDataForOrigin', { origin: stage.origin, storageTypes: 'all' })
      await enterCode(cleared.page, cleared.code)
      await cleared.page.getByText('The rent is 940').waitFor()
      await cleared.page.getByRole('button', { name: 'Forget me on this device' }).click()
      await cleared.page.getByText('You are forgotten here').waitFor()
      t.same(
        [...refusing.errors, ...cleared.errors].filter((one) => !/401/.test(one)),
        [],
      )
    },
  )

  t.test('a page that a phone dropped meanwhile, or another tab, still takes the code that came', async () => {
    const { page, context, link, code } = await asked(undefined, plain, 'carl@example.net')
    await page.reload()
    await page.getByText('If carl@example.net can open this message').waitFor()
    const again = await context.newPage()
    await again.goto(link)
    await enterCode(again, code)
    await again.getByText('The rent is 940').waitFor()
    await again.reload()
    await again.getByText('The rent is 940').waitFor()
    await enterCode(page, code)
    await page.getByText('This code can no longer be used').waitFor()
    await page.reload()
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('two tabs that start at once keep one key, so that what either proves holds for the next', async (t) => {
    const { page, context } = await openPage(browser)
    t.teardown(() => context.close())
    const other = await context.newPage()
    const [one, two] = [await stage.seal(plain), await stage.seal(plain)]
    await Promise.all([page.goto(one.link), other.goto(two.link)])
    await other.getByLabel('Your e-mail address').waitFor()
    const thumbprints = new Set<string>()
    context.on('request', (request) => {
      const proof = request.headers().dpop?.split('.')[0]
      if (proof !== undefined) thumbprints.add(proof)
    })
    for (const tab of [page, other]) {
      await enterAddress(tab, 'stranger@example.net')
      await tab.getByLabel('Code from the mail').waitFor()
    }
    t.equal(thumbprints.size, 1)
  })

  t.test('a device whose clock is wrong by days opens messages all the same, once', async (t) => {
    for (const [days, person] of [
      [40, 'dora@example.org'],
      [-40, 'emil@example.org'],
    ] as const) {
      const { page, context } = await openPage(browser)
      t.teardown(() => context.close())
      await page.clock.setFixedTime(Date.now() + days * 86_400_000)
      await page.goto((await stage.seal(plain, { recipients: [person] })).link)
      const before = stage.house.mails.length
      await enterAddress(page, person)
      const code = await stage.code(before)
      await enterCode(page, code)
      await page.getByText('The rent is 940').waitFor()
      const until = await page.locator('dd').last().textContent()
      t.equal(/from now/.test(until ?? ''), days < 0, 'no span to a time that is past here')
    }
  })

  t.test('a code is taken as people paste and type it', async () => {
    const { page, code } = await asked(undefined, plain, 'fritz@example.org')
    const field = page.getByLabel('Code from the mail')
    await enterCode(page, code.slice(1))
    await page.getByText('The code has 8 digits').waitFor()
    await field.fill('')
    const wide = [...code].map((digit) => String.fromCharCode(0xff10 + Number(digit)))
    await page.keyboard.insertText(`Your code:\u00a0${wide.join(' ')}`)
    await page.keyboard.press('Enter')
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('a link that a mail program made longer still works, and one that was cut says so', async (t) => {
    const { page, context } = await openPage(browser)
    t.teardown(() => context.close())
    const { link } = await stage.seal(plain)
    for (const tail of ['.', ')', '%3E', '/', '&data=05%7C01']) {
      await page.goto(link + tail)
      await page.getByLabel('Your e-mail address').waitFor()
    }
    for (const cut of [link.slice(0, -1), `${stage.origin}/m/`, `${stage.origin}/m`]) {
      await page.goto(cut)
      await page.getByText('This link is not whole').waitFor()
    }
  })

  t.test('who asks for a new code too soon is told so, and can still enter the one that came', async (t) => {
    const { page, code } = await asked()
    await page.getByText('No code has come?').click()
    await page.getByRole('button', { name: 'Send a new code' }).click()
    await page.getByRole('alert').getByText('asked for too often').waitFor()
    t.equal(await page.evaluate(() => document.activeElement?.id), 'code')
    await enterCode(page, code)
    await page.getByText('The rent is 940').waitFor()
  })

  t.test('a browser that cannot do what the page needs is told so', async (t) => {
    const html = mail('Content-Type: text/html', '', '<style>p{color:red}</style><p>text</p>')
    const { page, code } = await asked(() => {
      CSSStyleSheet.prototype.replaceSync = () => {
        throw new TypeError('not here')
      }
    }, html)
    await enterCode(page, code)
    await page.getByText('This browser could not show the message').waitFor()
    t.ok(await page.getByRole('button', { name: 'Try again' }).isVisible())
  })

  t.test('while the script does not come, the page does not stay empty', async (t) => {
    const { page, context } = await openPage(browser)
    t.teardown(() => context.close())
    await page.route('**/assets/*.js', (route) => route.abort())
    await page.goto((await stage.seal(plain)).link)
    await page.getByText('load the page again').waitFor()
    t.equal(await page.locator('h1').textContent(), 'One moment, please')
  })
})

t.test('a copy that stops coming is as one that cannot be reached', async (t) => {
  const server = createServer((_, response) => void response.writeHead(200, { 'Content-Length': 1000 }).write('begun'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close().closeAllConnections())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/e/x`
  let have = 0
  const onProgress = (octets: number) => {
    have = octets
  }
  t.same(await fetchCopy([url], 'ticket', { fetch, onProgress, patience: 200 }), { kind: 'unreachable' })
  t.equal(have, 5)
})
