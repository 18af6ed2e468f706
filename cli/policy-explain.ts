import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { readFacts } from '../gateway/facts.ts'
import { type Content, readMemory } from '../gateway/intake.ts'
import type { Scan } from '../gateway/scan.ts'
import { type Address, domainOf, parseAddress } from '../protocol/identifiers.ts'
import {
  type ExplainedPart,
  type ExplainedRule,
  explainOutbound,
  formatDuration,
  loadPolicy,
  type OutboundVerdict,
  type Policy,
} from '../rulebook/index.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

/**
 * `sealpost policy explain FILE --mail EML --to ADDRESS [--sender ADDRESS]`: what would happen to one mail for one recipient, and why: each
 * rule, each part of its condition, the values it saw. The facts are read from the mail as the gateway reads them. Without --sender
 * the mail has an empty envelope sender; --user, --ip and --no-tls say who handed it in, and how; --recipient-tls that the recipient's host gives
 * verified TLS; --scan what the scanner says. Prints values of the mail.
 */
export async function explain(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      ...{ mail: { type: 'string' }, to: { type: 'string' }, sender: { type: 'string', default: '' } },
      ...{ user: { type: 'string', default: '' }, ip: { type: 'string', default: '198.51.100.7' } },
      'no-tls': { type: 'boolean', default: false },
      'recipient-tls': { type: 'boolean', default: false },
      scan: { type: 'string', default: 'none' },
    },
  })
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new UsageError('policy explain: name one policy file')
  if (values.mail === undefined) throw new UsageError('policy explain: --mail FILE is missing, a mail as .eml')
  const recipient = addressIn(values.to ?? '', '--to')
  const sender = values.sender === '' ? null : addressIn(values.sender, '--sender')
  const policy = policyIn(await contentsOf(file), file)
  const content = mailIn(await contentsOf(values.mail), values.mail)
  const mailbox = sender === null ? null : { address: sender, mailbox: sender }
  const message = await readFacts(content, mailbox, policy, { scan: scanIn(values.scan) })
  const domain = domainOf(recipient)
  const facts = {
    message,
    recipient: {
      address: recipient,
      domain,
      internal: policy.domains.includes(domain),
      tls: values['recipient-tls'] ? ('verified' as const) : ('none' as const),
    },
    client: { identity: values.user, ip: values.ip, tls: !values['no-tls'] },
  }
  const { verdict, rules } = explainOutbound(policy, facts)
  io.out(`${recipient}: ${worded(verdict)}`)
  for (const rule of rules) tell(rule, io)
  return exits.ok
}

function worded(verdict: OutboundVerdict): string {
  const by = verdict.rule === 'default' ? 'no rule matches, so by default' : `by rule '${verdict.rule}'`
  if (verdict.kind === 'seal') return `seal for ${formatDuration(verdict.terms.ttlSeconds)}, ${by}${shown(verdict)}`
  if (verdict.kind === 'hold') {
    const times = `${formatDuration(verdict.holdSeconds)} for an officer to decide, then for ${formatDuration(verdict.terms.ttlSeconds)}`
    return `hold, ${times}, ${by}${shown(verdict)}: ${verdict.because}`
  }
  if (verdict.kind === 'refuse') {
    return `refuse, ${verdict.scan === undefined ? by : 'by what the scanner said'}: ${verdict.because}`
  }
  return `pass${verdict.tls === undefined ? '' : ' over verified TLS only'}, ${by}`
}

function shown({ subject, carry }: Extract<OutboundVerdict, { kind: 'seal' | 'hold' }>): string {
  return (subject === undefined ? '' : `; subject: ${subject}`) + (carry === undefined ? '' : `; carry: ${carry}`)
}

function tell({ name, then, observes, outcome, decides, parts }: ExplainedRule, io: Io): void {
  io.out(`${decides ? '=>' : '  '} ${name} (${observes ? `only observes: ${then}` : then}): ${told(outcome)}`)
  for (const part of parts) io.out(`       ${told(part.outcome).padEnd(5)}  ${part.text}${seen(part)}`)
}

function told(outcome: ExplainedPart['outcome']): string {
  return typeof outcome === 'boolean' ? String(outcome) : `error (${outcome.error})`
}

function seen({ saw }: ExplainedPart): string {
  return saw.length === 0 ? '' : `    [${saw.map(({ name, value }) => `${name} is ${value}`).join('; ')}]`
}

function scanIn(text: string): Scan {
  const known = ['none', 'clean', 'infected', 'too-large'] as const
  const verdict = known.find((one) => one === text)
  if (verdict === undefined) throw new UsageError(`policy explain: --scan is one of ${known.join(', ')}`)
  return { verdict, name: '' }
}

function addressIn(text: string, option: string): Address {
  const address = parseAddress(text)
  if (address === null) throw new UsageError(`policy explain: ${option} takes an address such as bob@example.org`)
  return address
}

function policyIn(text: Buffer, file: string): Policy {
  const loaded = loadPolicy(text.toString('utf8'), file)
  if (loaded.kind === 'policy') return loaded.policy
  throw new Failure(loaded.faults.map(({ line, column, message }) => `${file}:${line}:${column} ${message}`).join('\n'))
}

/** The mail as the gateway would take it in: with CRLF line ends, whatever the file has. */
function mailIn(octets: Buffer, file: string): Content {
  const lines = octets.toString('latin1').replace(/\r?\n/g, '\r\n')
  const content = readMemory(new Uint8Array(Buffer.from(lines, 'latin1')))
  if (content === null) throw new Failure(`${file}: its header is too large`)
  return content
}

async function contentsOf(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch {
    throw new Failure(`${file}: cannot be read`, exits.usage)
  }
}
