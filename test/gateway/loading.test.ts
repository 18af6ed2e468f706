import { registerHooks } from 'node:module'
import t from 'tap'

/** What only some configurations need is loaded where it is made: else it is memory of every gateway's. */
const OPTIONAL = ['mailauth', 'dns-packet', '@aws-sdk', '@googleapis', '@microsoft', '@opentelemetry', 'jose']

t.test('the parts of a gateway do not bring in the packages of providers, DKIM, MX or telemetry', async (t) => {
  const loaded: string[] = []
  const hooks = registerHooks({
    load(url, context, next) {
      loaded.push(url)
      return next(url, context)
    },
  })
  await import('../../gateway/config.ts')
  await import('../../gateway/gateway.ts')
  hooks.deregister()
  const among = (name: string) => loaded.some((url) => url.includes(`/node_modules/${name}/`))
  t.ok(['smtp-server', 'better-sqlite3'].every(among), 'what everyone needs is seen')
  t.same(OPTIONAL.filter(among), [])
})
