import type { FastifyInstance } from 'fastify'

/**
 * How a route lets callers in. `open`: anybody, and it changes nothing and touches no store. `proof`: a DPoP proof of the calling browser's
 * key. `session`: that, and the session bound to it. `gateway`, `officer`: a client certificate of that kind. `loopback`: whoever reaches
 * the ops listener.
 */
export type Authorisation = 'open' | 'proof' | 'session' | 'gateway' | 'officer' | 'loopback'

declare module 'fastify' {
  interface FastifyContextConfig {
    auth?: Authorisation
  }
}

/**
 * Makes every route that is added to `app` from now on declare its authorisation in `config.auth`, from among `known`: one that does not
 * is an error at once, so the process does not start. Call it before anything else is registered.
 */
export function requireAuthorisation(app: FastifyInstance, known: readonly Authorisation[]): void {
  app.addHook('onRoute', (route) => {
    const auth = route.config?.auth
    if (auth === undefined || !known.includes(auth)) {
      throw new Error(
        `route ${String(route.method)} ${route.url} declares ${auth === undefined ? 'no authorisation' : `"${auth}"`}: ` +
          `say config.auth, one of ${known.join(', ')}`,
      )
    }
  })
}
