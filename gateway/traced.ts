import type { Tracer } from '../telemetry/tracer.ts'
import type { Courier } from './courier.ts'
import type { KeyServer } from './key-server.ts'
import type { Route } from './routing.ts'
import type { Sealing } from './sealing.ts'
import type { Spool } from './spool.ts'

/* The parts of the gateway with a span around what they do. While nothing is traced each is the part itself. */

export function traceKeyServer(keyServer: KeyServer, tracer: Tracer): KeyServer {
  if (!tracer.on) return keyServer
  return {
    ...keyServer,
    issue: (request) => {
      const { org, rule, verdict } = request
      return tracer.within('issue', { org, rule, verdict }, () => keyServer.issue(request))
    },
    confirm: (request) => tracer.within('confirm', { org: request.org }, () => keyServer.confirm(request)),
    // The very request: who keeps outcomes knows it by its identity.
    outcome: (request) => tracer.within('outcome', { org: request.org }, () => keyServer.outcome(request)),
  }
}

export function traceSealing(sealing: Sealing, tracer: Tracer): Sealing {
  if (!tracer.on) return sealing
  return {
    ...sealing,
    seal: (plain, key) => {
      const what = { org: key.org, size: plain.plainSize }
      return tracer.within('seal', what, () => sealing.seal(plain, key))
    },
  }
}

/** The code is the first one that is no success, if there is one. */
export function traceCourier(courier: Courier, org: string, tracer: Tracer): Courier {
  if (!tracer.on) return courier
  return {
    ...courier,
    deliver: (delivery) =>
      tracer.within('deliver', { org, size: delivery.mail.size }, async (span) => {
        const report = await courier.deliver(delivery)
        const unsent = report.results.find(({ outcome }) => outcome !== 'sent')
        const code = (unsent ?? report.results[0])?.code
        if (code !== undefined) span.note({ code })
        if (unsent !== undefined) span.failed()
        return report
      }),
  }
}

/** What the spool begins for a message goes on long after it. */
export function traceSpool<T extends Pick<Spool, 'put' | 'tell' | 'holds'>>(spool: T, tracer: Tracer): T {
  if (!tracer.on) return spool
  return {
    ...spool,
    put: (...given: Parameters<Spool['put']>) => tracer.apart(() => spool.put(...given)),
    tell: (...given: Parameters<Spool['tell']>) => tracer.apart(() => spool.tell(...given)),
  }
}

/** Which verdicts came out, and by which rules. */
export function fatesOf(route: Route): { readonly verdict: string; readonly rule: string } {
  const fates =
    route.kind === 'send' ? route.groups : route.refusals.map(({ rule }) => ({ verdict: 'refuse' as const, rule }))
  const joined = (words: readonly string[]) => [...new Set(words)].slice(0, 5).join(', ')
  return { verdict: joined(fates.map(({ verdict }) => verdict)), rule: joined(fates.map(({ rule }) => rule)) }
}
