import { createApi } from './api.ts'
import { acceptDrops } from './file-picker.ts'
import { readLink } from './link.ts'
import { createPage } from './page.ts'
import { createKeeper } from './session.ts'
import { createShell } from './shell.ts'
import { createTrusted } from './trusted.ts'

const main = document.querySelector<HTMLElement>('#main')
const status = document.querySelector<HTMLElement>('#status')
if (main === null || status === null) throw new Error('this script belongs to index.html')

const now = () => Date.now()
const request: typeof fetch = (input, init) => fetch(input, init)
const keeper = await createKeeper()
const api = createApi({ origin: location.origin, key: keeper.key, fetch: request })
const shell = createShell(main, status)
const page = createPage({ api, fetch: request, keeper, shell, trusted: createTrusted(), now })
acceptDrops(document, page.takeFile)
page.start(readLink(location.pathname))
