import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { type BrowserContext, chromium } from 'playwright-core'
import { type Catcher, startCatcher } from './catcher.ts'
import type { Figure } from './figure.ts'
import { openLine } from './smtp-line.ts'
import { openStand, type Stand } from './stand.ts'
import { latencyOf, median, round } from './statistics.ts'

/** How long a person waits: from opening the link of a 100 KB mail, with a session, to its text on the screen. And how large the page is. */

const CHROMIUM = '/usr/bin/chromium'
const ARGUMENTS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
]
const DIST = join(import.meta.dirname, '..', 'reader', 'dist')
const SIZE = 100_000
const MARK = 'The last line of the mail.'
const ADDRESS = 'bob@example.org'

export type OpeningOptions = { readonly openings: number; readonly say: (line: string) => void }

/** `kind` is that of the part which is shown. */
type Kind = 'text' | 'HTML'

export async function measureOpening(options: OpeningOptions): Promise<Figure[]> {
  const figures = [sizeFigure('brotli'), sizeFigure('gzip')]
  if (!existsSync(CHROMIUM)) {
    options.say(`${CHROMIUM} is not installed: openings were not measured`)
    return figures
  }
  const stand = await openStand()
  const catcher = await startCatcher(stand.sinkPort)
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS })
  try {
    await stand.startGateway()
    const context = await browser.newContext({ reducedMotion: 'reduce' })
    await context.addInitScript(watchFor, MARK)
    const [textLink, htmlLink] = [await sendMail(stand, catcher, 'text'), await sendMail(stand, catcher, 'HTML')]
    await signIn(context, textLink, catcher)
    for (const [kind, link] of [['text', textLink] as const, ['HTML', htmlLink] as const]) {
      const times: number[] = []
      for (let number = 0; number < options.openings; number++) times.push(await open(context, link))
      options.say(`opening, ${kind}: ${times.map((time) => Math.round(time)).join(', ')} ms`)
      figures.push(openingFigure(kind, times))
    }
    return figures
  } finally {
    await browser.close()
    await catcher.stop()
    await stand.stop()
  }
}

/** Octets of all that the page loads, each file compressed as a server would. */
export function pageSize(folder: string, coding: 'brotli' | 'gzip'): number {
  const files = readdirSync(folder).filter((name) => /\.(?:html|js|css)$/.test(name))
  return files.reduce((sum, name) => {
    const content = readFileSync(join(folder, name))
    return sum + (coding === 'gzip' ? gzipSync(content, { level: 9 }) : brotliCompressSync(content)).length
  }, 0)
}

function sizeFigure(coding: 'brotli' | 'gzip'): Figure {
  const target = { of: 'figure', kind: 'most', value: 80 } as const
  const ours = round(pageSize(DIST, coding) / 1000)
  return { name: `the page with ${coding}`, unit: 'KB', ours, postfix: null, target, note: '' }
}

function openingFigure(kind: Kind, times: readonly number[]): Figure {
  const { p99 } = latencyOf(times)
  const target = { of: 'figure', kind: 'most', value: 500 } as const
  const name = `link to ${kind} shown, 100 KB mail`
  const note = `${times.length} openings, the slowest ${Math.round(p99)} ms`
  return { name, unit: 'ms', ours: round(median(times)), postfix: null, target, note }
}

/** Sends a mail through the gateway; its link. */
async function sendMail(stand: Stand, catcher: Catcher, kind: Kind): Promise<string> {
  const before = catcher.mails.length
  const line = await openLine(stand.gatewayPort)
  const answer = await line.send(
    {
      before: Buffer.from('From: anna@acme.example\r\nTo: bob@example.org\r\nSubject: Long\r\nMessage-ID: <'),
      after: content(kind),
      size: SIZE,
    },
    randomBytes(8).toString('hex'),
  )
  line.close()
  if (!answer.startsWith('250')) throw new Error(`the mail was refused: ${answer.trim()}`)
  await catcher.wait(before + 1)
  const link = /http:\/\/localhost:\d+\/m\/[\w-]{22}/.exec(catcher.mails.at(-1)?.toString('latin1') ?? '')?.[0]
  if (link === undefined) throw new Error('the sealed mail has no link')
  return link
}

/** Header end and body: words and figures in lines, the mark at the end. */
function content(kind: Kind): Buffer {
  const [begin, end] = kind === 'HTML' ? ['<p>', '</p>'] : ['', '\r\n']
  const lines: string[] = []
  for (let size = 0; size < SIZE - 400; size += 80) {
    const words = `Line ${lines.length + 1}: ${randomBytes(22).toString('hex')}`.padEnd(70, '.')
    lines.push(`${begin}${words}${end}`.slice(0, 78))
  }
  const type = kind === 'HTML' ? 'text/html' : 'text/plain'
  const head = `@bench.acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: ${type}; charset=utf-8\r\n\r\n`
  return Buffer.from(`${head}${lines.join('\r\n')}\r\n${begin}${MARK}${end}\r\n`)
}

/** A code is asked for, comes by mail, and is typed in: the browser has a session then. */
async function signIn(context: BrowserContext, link: string, catcher: Catcher): Promise<void> {
  const page = await context.newPage()
  await page.goto(link)
  const before = catcher.mails.length
  await page.getByLabel('Your e-mail address').fill(ADDRESS)
  await page.getByRole('button', { name: 'Send me the code' }).click()
  await catcher.wait(before + 1)
  const code = /^\d{8}\r?$/m.exec(catcher.mails.at(-1)?.toString('latin1') ?? '')?.[0].trim() ?? ''
  await page.getByLabel('Code from the mail').fill(code)
  await page.getByRole('button', { name: 'Open the message' }).click()
  await page.waitForFunction(() => 'shownAt' in window)
  await page.close()
}

/** Milliseconds from the navigation's start to the first frame after the text was there. */
async function open(context: BrowserContext, link: string): Promise<number> {
  const page = await context.newPage()
  try {
    await page.goto(link, { waitUntil: 'commit' })
    const handle = await page.waitForFunction(() => ('shownAt' in window ? Number(window.shownAt) : 0), null, {
      timeout: 40_000,
    })
    return Number(await handle.jsonValue())
  } finally {
    await page.close()
  }
}

/** Runs in the page: notes when the mark is on the screen, in the document itself or in a frame of its own that has loaded. */
function watchFor(mark: string): void {
  const note = () => {
    if ('shownAt' in window) return
    requestAnimationFrame(() => setTimeout(() => Object.assign(window, { shownAt: performance.now() })))
    looking.disconnect()
  }
  const looking = new MutationObserver(() => {
    if (document.body?.textContent?.includes(mark)) note()
  })
  looking.observe(document, { childList: true, subtree: true, characterData: true })
  // A frame's load does not bubble, but is captured on the way.
  document.addEventListener(
    'load',
    (event) => {
      if (event.target instanceof HTMLIFrameElement && event.target.srcdoc.includes(mark)) note()
    },
    true,
  )
}
