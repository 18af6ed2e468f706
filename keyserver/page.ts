import { existsSync } from 'node:fs'
import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { contentSecurityPolicy, pageHeaders } from '../reader/csp.ts'
import { readLink } from '../reader/link.ts'
import type { Config } from './config.ts'
import { KeyServerError } from './error.ts'

export type PageParts = {
  readonly config: Config
  /** The reader's built files: index.html, and what it loads from /assets/. */
  readonly folder: string
}

/** The build puts a hash of the content into these names. */
const HASHED = /-[A-Z0-9]{8}\.(?:js|css)$/
const File = Type.Object({ '*': Type.String({ maxLength: 256 }) })

/**
 * The static page, the same for every link: a GET changes nothing and touches no store, so link scanners may fetch it all day. A host of
 * an organization's own leads on to the one origin of the reader, to which sessions are bound.
 */
export async function addPageRoutes(app: FastifyInstance, { config, folder }: PageParts): Promise<void> {
  const assets = join(folder, 'assets')
  const root = existsSync(assets) ? assets : folder
  await app.register(fastifyStatic, {
    root: folder,
    serve: false,
    etag: true,
    cacheControl: false,
    preCompressed: true,
  })
  const origin = new URL(config.public.url).origin
  const hosts = ownHosts(config)
  const copies = Object.values(config.gateways).map((gateway) => new URL(gateway.copies).origin)
  const pageOwn = { ...pageHeaders, 'Content-Security-Policy': contentSecurityPolicy([...new Set(copies)]) }
  const open = { auth: 'open' } as const

  async function page(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const link = readLink(request.url)
    if (hosts.has(request.host) && link.kind === 'message') return reply.redirect(`${origin}/m/${link.envelope}`, 307)
    if (!existsSync(join(folder, 'index.html'))) {
      throw new KeyServerError('unavailable', { detail: 'The page is not built. The operator runs: npm run build' })
    }
    return reply.headers(pageOwn).sendFile('index.html')
  }
  for (const url of ['/', '/open', '/m']) app.get(url, { schema: { hide: true }, config: open }, page)
  // All of it, for a link that a mail program cut or lengthened: the page says so.
  app.get('/m/*', { schema: { hide: true, params: File }, config: open }, page)
  app.get('/assets/*', { schema: { hide: true, params: File }, config: open }, (request, reply) => {
    const { '*': file } = request.params as Record<'*', string>
    reply.header('cache-control', HASHED.test(file) ? 'public, max-age=31536000, immutable' : 'no-cache')
    return reply.sendFile(file, root)
  })
}

/** Hosts of organizations that are not the reader's own. */
function ownHosts(config: Config): ReadonlySet<string> {
  const urls = Object.values(config.organizations).flatMap(({ url }) => (url === null ? [] : [new URL(url)]))
  const reader = new URL(config.public.url)
  return new Set(urls.filter((url) => url.host !== reader.host).map((url) => url.host))
}
