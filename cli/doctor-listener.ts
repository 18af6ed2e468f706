import type { Config, ListenerConfig } from '../gateway/config.ts'
import type { Reply } from '../gateway/smtp-reply.ts'
import { openSecureWire, openWire, type Wire } from '../gateway/smtp-wire.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'

const TIMEOUT_MS = 10_000
/** RFC 6761: nobody's, ever. */
const STRANGER = 'doctor@open-relay-test.invalid'

/** Whether the gateway is up, by its own word, and whether any of its listeners lets a stranger through. */
export async function listenerFindings(config: Config): Promise<Finding[]> {
  const found = await Promise.all(config.listeners.map((listener) => relayFinding(listener, config.name)))
  return [await healthFinding(config), ...found]
}

/** Where this machine reaches what listens at a configured address. */
export function reachableAt({ options: { address } }: ListenerConfig): string {
  if (address === '0.0.0.0') return '127.0.0.1'
  return address === '::' ? '::1' : address
}

async function healthFinding({ ops }: Config): Promise<Finding> {
  const start = 'start it: node gateway/main.ts gateway.yaml; its log says why it ended'
  if (ops.port === 0)
    return look('gateway', 'ops > port is 0: its health cannot be asked', 'give ops a port of its own')
  try {
    const host = ops.host.includes(':') ? `[${ops.host}]` : ops.host
    const answer = await fetch(`http://${host}:${ops.port}/health/ready`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    const said: unknown = await answer.json()
    const reasons: unknown = typeof said === 'object' && said !== null ? Reflect.get(said, 'reasons') : []
    if (answer.ok) return ok('gateway', 'is running, and ready')
    return broken(
      'gateway',
      `is running, and not ready: ${Array.isArray(reasons) ? reasons.join('; ') : 'no reason given'}`,
      'see below',
    )
  } catch (error) {
    return broken('gateway', `does not answer at ${ops.host}:${ops.port} (${reasonOf(error)})`, start)
  }
}

/** Offers a mail from nobody to nobody, as far as RCPT and never further. */
async function relayFinding(listener: ListenerConfig, name: string): Promise<Finding> {
  const { options } = listener
  const host = reachableAt(listener)
  const place = `listener ${options.name} (${host}:${options.port})`
  if (options.port === 0)
    return look('open relay', `${place}: any free port, which cannot be known here`, 'give it a port')
  let wire: Wire | null = null
  try {
    const implicit = options.tls?.mode === 'implicit'
    wire = implicit
      ? await openSecureWire({ host, port: options.port }, { mode: 'opportunistic' }, TIMEOUT_MS)
      : await openWire({ host, port: options.port }, TIMEOUT_MS)
    return judge(place, await converse(wire, name))
  } catch (error) {
    const todo = 'start the gateway; if it runs, look at its log: nobody can hand in mail here'
    return broken('open relay', `${place} could not be tried: ${reasonOf(error)}`, todo)
  } finally {
    wire?.end('RSET\r\nQUIT\r\n')
  }
}

/** The first refusal, or the last reply. */
async function converse(wire: Wire, name: string): Promise<Reply> {
  let reply = await wire.reply(TIMEOUT_MS)
  for (const command of [`EHLO ${name}`, `MAIL FROM:<${STRANGER}>`, `RCPT TO:<${STRANGER}>`]) {
    if (reply.code >= 400) return reply
    await wire.write(`${command}\r\n`, TIMEOUT_MS)
    reply = await wire.reply(TIMEOUT_MS)
  }
  return reply
}

function judge(place: string, { code, enhanced, text }: Reply): Finding {
  const said = `${code} ${enhanced ?? ''} ${text}`.replace(/\s+/g, ' ').trim()
  if (code >= 500) return ok('open relay', `${place} turns a stranger away: ${said}`)
  if (code >= 400)
    return look('open relay', `${place} could not decide: ${said}`, 'put right what is broken here, then ask again')
  const todo = 'take it off the net and look at listeners > clients: anybody can send through it'
  return broken('open relay', `${place} takes mail from a stranger to a stranger: ${said}`, todo)
}
