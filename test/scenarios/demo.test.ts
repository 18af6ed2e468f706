import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freePorts } from '../../cli/house.ts'
import { enterAddress, enterCode, launchBrowser, noBrowser } from '../reader/browser.ts'

const names = [
  'smtp',
  'inbox',
  'provider-smtp',
  'reader',
  'gateways',
  'keyserver-ops',
  'copies',
  'gateway-ops',
] as const
const demo = join(import.meta.dirname, '..', '..', 'cli', 'demo.ts')

async function startDemo(test: { teardown(act: () => void): unknown }, folder: string) {
  const ports = await freePorts(names.length)
  const options = names.flatMap((name, index) => [`--${name}`, `${ports[index]}`])
  const child = spawn(process.execPath, [demo, '--folder', folder, ...options], { stdio: ['ignore', 'pipe', 'pipe'] })
  test.teardown(() => {
    child.kill('SIGKILL')
  })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  for (let waited = 0; !said.includes('Ctrl-C ends it'); waited += 100) {
    if (child.exitCode !== null || waited > 60_000) throw new Error(`the demo did not come up: ${said}`)
    await sleep(100)
  }
  return {
    inbox: `http://localhost:${ports[1]}`,
    end: async () => {
      child.kill('SIGINT')
      const [code] = await once(child, 'exit')
      return code
    },
  }
}

type Listed = { readonly subject: string; readonly text: string }

async function codeIn(inbox: string): Promise<string> {
  for (let waited = 0; waited < 20_000; waited += 100) {
    const mails = (await (await fetch(`${inbox}/email`)).json()) as Listed[]
    const code = mails.map(({ text }) => /^\d{8}$/m.exec(text)?.[0]).find((found) => found !== undefined)
    if (code !== undefined) return code
    await sleep(100)
  }
  throw new Error('no code came')
}

t.test(
  'a newcomer clicks the link in the inbox, types the code that comes there, and reads',
  { skip: noBrowser },
  async (t) => {
    const folder = t.testdir()
    const first = await startDemo(t, folder)
    const browser = await launchBrowser()
    t.teardown(() => browser.close())
    const context = await browser.newContext()
    context.setDefaultTimeout(25_000)
    const page = await context.newPage()
    await page.goto(first.inbox)
    await page.getByText('Our offer for the lighthouse').first().click()
    const opened = context.waitForEvent('page')
    const mail = page.frameLocator('iframe.panel-html')
    // Half a second after it has shown a mail, the inbox sees to it that links open in a window of their own.
    await mail.locator('base[target="_blank"]').waitFor({ state: 'attached' })
    await mail.locator('a[href*="/m/"]').click()
    const reader = await opened
    await enterAddress(reader, 'bob@example.org')
    await enterCode(reader, await codeIn(first.inbox))
    await reader.getByRole('heading', { name: 'Our offer for the lighthouse' }).waitFor()
    t.ok(await reader.getByText('offer.csv').isVisible(), 'the attachment is offered')
    t.ok(await reader.getByText('anna@acme.example').first().isVisible(), 'the sender is named')
    t.equal(await first.end(), 0, 'Ctrl-C ends it')

    const again = await startDemo(t, folder)
    const mails = (await (await fetch(`${again.inbox}/email`)).json()) as Listed[]
    t.equal(
      mails.filter(({ subject }) => subject === 'Our offer for the lighthouse').length,
      2,
      'the next start goes on',
    )
    t.equal(await again.end(), 0)
  },
)
