import { readCapabilities } from './capabilities.ts'
import type { Capabilities } from './courier.ts'
import { authenticate, type SmtpAuth } from './smtp-auth.ts'
import type { Reply } from './smtp-reply.ts'
import { openSecureWire, openWire, type Wire, WireFault } from './smtp-wire.ts'
import { isVerifying, mayBeClear, type TlsPolicy } from './tls-policy.ts'

export type NextHop = {
  readonly host: string
  /** Where it is, if the host's name is not to be resolved again. */
  readonly address?: string
  readonly port: number
  readonly tls: TlsPolicy
  /** TLS from the first octet (port 465, RFC 8314) and no STARTTLS. */
  readonly implicitTls: boolean
  /** Said in EHLO: a name of this machine. */
  readonly helo: string
  /** AUTH PLAIN, LOGIN or XOAUTH2; never without TLS. */
  readonly auth: SmtpAuth | null
}

/** The most that each step may take, milliseconds. */
export type PhaseTimeouts = {
  readonly connect: number
  readonly greeting: number
  readonly command: number
  readonly dataStart: number
  readonly dataBlock: number
  readonly final: number
}

/** RFC 5321 4.5.3.2 where the whole may take ten minutes, scaled down in proportion where it may take less. */
export function phaseTimeouts(budgetMs: number): PhaseTimeouts {
  const scale = Math.min(1, budgetMs / 600_000)
  return {
    connect: 60_000 * scale,
    greeting: 300_000 * scale,
    command: 300_000 * scale,
    dataStart: 120_000 * scale,
    dataBlock: 180_000 * scale,
    final: 600_000 * scale,
  }
}

/** Why no mail can be sent over a connection yet; always temporary. */
export class GreetingFault extends Error {
  override readonly name = 'GreetingFault'
  readonly enhanced: string
  /** What the next hop answered, where it did. */
  readonly reply: Reply | null

  constructor(enhanced: string, text: string, reply: Reply | null = null) {
    super(text)
    this.enhanced = enhanced
    this.reply = reply
  }
}

/** A greeted connection: EHLO is said, TLS and AUTH are done. */
export type SmtpClient = {
  readonly wire: Wire
  readonly capabilities: Capabilities
}

/** Connects and greets. Rejects with {@link GreetingFault} or {@link WireFault}; no connection is left open then. */
export async function openSmtpClient(hop: NextHop, timeouts: PhaseTimeouts): Promise<SmtpClient> {
  const wire = hop.implicitTls
    ? await openSecureWire(hop, hop.tls, timeouts.connect)
    : await openWire(hop, timeouts.connect)
  try {
    return await greet(wire, hop, timeouts)
  } catch (error) {
    wire.destroy('greeting failed')
    throw error
  }
}

async function greet(wire: Wire, hop: NextHop, timeouts: PhaseTimeouts): Promise<SmtpClient> {
  const banner = await wire.reply(timeouts.greeting)
  if (banner.code !== 220) throw new GreetingFault('4.3.2', 'the next hop does not take mail now', banner)
  let offers = await sayHello(wire, hop, timeouts)
  let tls = hop.implicitTls
  if (!tls && hop.tls.mode !== 'none' && offers.has('STARTTLS')) {
    const reply = await ask(wire, 'STARTTLS\r\n', timeouts.command)
    if (reply.code === 220) {
      await wire.secure(hop.host, hop.tls, timeouts.greeting)
      tls = true
      // RFC 3207 4.2: what was said in clear is forgotten.
      offers = await sayHello(wire, hop, timeouts)
    } else if (!mayBeClear(hop.tls)) throw new GreetingFault('4.7.0', 'the next hop refused STARTTLS', reply)
  }
  if (!tls && !mayBeClear(hop.tls)) {
    throw new GreetingFault('4.7.0', 'the next hop offers no TLS, which this gateway is told to require')
  }
  if (hop.auth !== null) {
    if (!tls)
      throw new GreetingFault('4.7.0', 'a sign-in is set for the next hop, and it offers no TLS to send it over')
    const said = (command: string) => ask(wire, command, timeouts.command)
    const fault = await authenticate(said, hop.auth, offers.get('AUTH') ?? '', timeouts.command)
    if (fault !== null) throw new GreetingFault(fault.enhanced, fault.text, fault.reply)
  }
  return { wire, capabilities: readCapabilities(offers, tls, isVerifying(hop.tls)) }
}

async function sayHello(wire: Wire, hop: NextHop, timeouts: PhaseTimeouts): Promise<ReadonlyMap<string, string>> {
  const reply = await ask(wire, `EHLO ${hop.helo}\r\n`, timeouts.command)
  if (reply.code === 250) {
    const offers = new Map<string, string>()
    for (const line of reply.lines.slice(1)) {
      const [word = '', ...rest] = line.split(/[ =]/)
      offers.set(word.toUpperCase(), [offers.get(word.toUpperCase()) ?? '', ...rest].join(' ').trim())
    }
    return offers
  }
  if (reply.code < 500) throw new GreetingFault('4.3.2', 'the next hop does not take mail now', reply)
  const old = await ask(wire, `HELO ${hop.helo}\r\n`, timeouts.command)
  if (old.code !== 250) throw new GreetingFault('4.3.2', 'the next hop refused our greeting', old)
  return new Map()
}

async function ask(wire: Wire, command: string, timeoutMs: number): Promise<Reply> {
  if (wire.unasked() !== null) throw new WireFault('the next hop answered what it was not asked')
  await wire.write(command, timeoutMs)
  return wire.reply(timeoutMs)
}
