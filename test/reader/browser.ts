import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

/** Where Debian puts Chromium. */
const CHROMIUM = '/usr/bin/chromium'

const ARGUMENTS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
]

/** A reason to skip browser tests, or false. */
export const noBrowser = existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed: skipped`

/** Starts a real Chromium. Close it when done. */
export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS })
}

/** A page in a context of its own, and the address of every request that it made. Whatever the page itself throws, or its policy refuses, is kept too. */
export type Watched = {
  readonly page: Page
  readonly context: BrowserContext
  readonly requests: string[]
  readonly errors: string[]
}

export const desktop = { width: 1200, height: 900 }
export const phone = { width: 360, height: 740 }

/** Opens an empty page. `dark` asks for the dark colours. */
export async function openPage(
  browser: Browser,
  { viewport = desktop, dark = false }: { viewport?: { width: number; height: number }; dark?: boolean } = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport,
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    acceptDownloads: true,
  })
  context.setDefaultTimeout(20_000)
  const page = await context.newPage()
  const requests: string[] = []
  const errors: string[] = []
  context.on('request', (request) => requests.push(request.url()))
  page.on('pageerror', (error) => errors.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  return { page, context, requests, errors }
}

/** Enters an address in the first step of the reader. */
export async function enterAddress(page: Page, address: string): Promise<void> {
  await page.getByLabel('Your e-mail address').fill(address)
  await page.getByRole('button', { name: 'Send me the code' }).click()
}

/** Enters a code in the second step. */
export async function enterCode(page: Page, code: string): Promise<void> {
  await page.getByLabel('Code from the mail').fill(code)
  await page.getByRole('button', { name: 'Open the message' }).click()
}
