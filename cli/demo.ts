import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { systemFault } from '../protocol/system-fault.ts'
import { playRecipient, type Stage, sendSample } from './demo-once.ts'
import { buildHouse, freePorts, type Ports, type Running } from './house.ts'
import { type Inbox, startInbox } from './inbox.ts'

const usual = {
  smtp: 2525,
  inbox: 1080,
  'provider-smtp': 1025,
  reader: 8443,
  gateways: 8444,
  'keyserver-ops': 8445,
  copies: 8446,
  'gateway-ops': 8447,
} as const
type PortName = keyof typeof usual
type AllPorts = Record<PortName, number>

const help = `npm run demo -- [--once] [--folder FOLDER] [--<port> NUMBER]

Starts a key server, a gateway and a mail catcher that plays the provider, on this machine only.

  --once     play the recipient too, check everything, and end (free ports unless named)
  --folder   where everything is written (sealpost-demo; with --once, sealpost-demo/once)
${Object.entries(usual)
  .map(([name, port]) => `  --${name.padEnd(14)} TCP port, ${port} unless named`)
  .join('\n')}
`

class DemoFault extends Error {}

async function main(): Promise<void> {
  const { values } = readArguments()
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  const once = values.once === true
  const folder = resolve(String(values.folder ?? (once ? join('sealpost-demo', 'once') : 'sealpost-demo')))
  const ports = await choosePorts(values, once)
  const begin = performance.now()
  const say = (line: string) => process.stdout.write(`${line}\n`)
  const step = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const from = performance.now()
    try {
      const result = await work()
      say(`  ok  ${`${Math.round(performance.now() - from)}`.padStart(5)} ms  ${what}`)
      return result
    } catch (cause) {
      throw new DemoFault(`${what}: failed. ${systemFault(cause)}`)
    }
  }
  say(`Sealpost demo. Everything is written into ${folder}`)
  const running: (Running | Inbox)[] = []
  const stopAll = async () => {
    for (const one of running.splice(0).reverse()) await one.stop()
  }
  process.once('SIGINT', () => void stopAll().then(() => process.exit(once ? 130 : 0)))
  // A terminal that closes: the gateway would take it for the wish to load its configuration again.
  process.once('SIGHUP', () => void stopAll().then(() => process.exit(129)))
  process.once('SIGTERM', () => void stopAll().then(() => process.exit(once ? 143 : 0)))
  try {
    const stage = await open(folder, ports, running, step, say)
    const passage = await step('a sample mail went through the gateway, and the provider has it', () =>
      sendSample(stage),
    )
    if (!once) {
      invite(stage, ports, passage.reply)
      tellOfEnds(running, say)
      return
    }
    await playRecipient(stage, passage, step)
    await stopAll()
    say(`All of it held, in ${((performance.now() - begin) / 1000).toFixed(1)} s.`)
  } catch (fault) {
    await stopAll()
    throw fault
  }
}

function readArguments() {
  const port = { type: 'string' } as const
  const names = Object.fromEntries(Object.keys(usual).map((name) => [name, port])) as Record<PortName, typeof port>
  try {
    return parseArgs({ options: { once: { type: 'boolean' }, help: { type: 'boolean' }, folder: port, ...names } })
  } catch (cause) {
    throw new DemoFault(`${cause instanceof Error ? cause.message : String(cause)}\n\n${help}`)
  }
}

async function choosePorts(values: Partial<Record<string, string | boolean>>, once: boolean): Promise<AllPorts> {
  const names = Object.keys(usual) as PortName[]
  const free = once ? await freePorts(names.length) : []
  const chosen = names.map((name, index): [PortName, number] => {
    const given = values[name]
    const port = given === undefined ? (free[index] ?? usual[name]) : Number(given)
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new DemoFault(`--${name} ${String(given)}: a port is a whole number from 1 to 65535`)
    }
    return [name, port]
  })
  const taken = []
  for (const [name, port] of chosen) {
    if (await isTaken(port))
      taken.push(`port ${port} is taken by another program: name a free one with --${name} NUMBER`)
  }
  const twice = chosen.find(([, port], index) => chosen.findIndex(([, other]) => other === port) !== index)
  if (twice) taken.push(`port ${twice[1]} is named twice: --${twice[0]} needs one of its own`)
  if (taken.length > 0) throw new DemoFault(taken.join('\n'))
  return Object.fromEntries(chosen) as AllPorts
}

async function isTaken(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const socket = connect(port, '127.0.0.1')
    const say = (taken: boolean) => {
      socket.destroy()
      settle(taken)
    }
    socket.once('connect', () => say(true))
    socket.once('error', () => say(false))
  })
}

/** Says of a process that ends while the demo goes on, which would else only fail. What is stopped is in the list no more. */
function tellOfEnds(running: readonly (Running | Inbox)[], say: (line: string) => void): void {
  for (const one of running) {
    if (!('child' in one)) continue
    one.child.once('exit', () => {
      if (running.includes(one))
        say(`\nA process has ended by itself; what it said last: ${one.log}\nPress Ctrl-C, then start the demo again.`)
    })
  }
}

async function open(
  folder: string,
  ports: AllPorts,
  running: (Running | Inbox)[],
  step: <T>(what: string, work: () => Promise<T>) => Promise<T>,
  say: (line: string) => void,
): Promise<Stage> {
  const inbox = await step('the mail catcher is up and plays the provider', () =>
    startInbox(join(folder, 'inbox'), ports['provider-smtp'], ports.inbox),
  )
  running.push(inbox)
  const housePorts: Ports = {
    public: ports.reader,
    gateways: ports.gateways,
    keyserverOps: ports['keyserver-ops'],
    smtp: ports.smtp,
    copies: ports.copies,
    gatewayOps: ports['gateway-ops'],
  }
  const house = await step('certificates, policy and configuration are in place', () =>
    buildHouse({ folder, ports: housePorts, provider: { host: '127.0.0.1', port: ports['provider-smtp'] } }),
  )
  running.push(await step('the key server is up', () => house.startKeyserver()))
  running.push(await step('the gateway is up', () => house.startGateway()))
  return { house, inbox, say }
}

function invite({ house, inbox, say }: Stage, ports: AllPorts, reply: string): void {
  say(`
The gateway answered: ${reply}
The provider holds a sealed mail now. To read it as its recipient:

  1. open the inbox            ${inbox.url}
  2. open the mail and click its link (it leads to ${house.origin}/m/…)
  3. type bob@example.org, ask for the code: it comes to the same inbox

Send one of your own:

  swaks --server localhost:${ports.smtp} --from anna@acme.example --to bob@example.org --header 'Subject: Hello' --body 'For you alone.'

Look at the log:              npx sealpost audit show ${house.database} --log acme.example
Change the policy:            ${house.policyFile}
  and see what came of it:    tail -f ${house.keyserverLog}
Ctrl-C ends it.`)
}

try {
  await main()
} catch (fault) {
  process.stderr.write(`\n${fault instanceof Error ? fault.message : String(fault)}\n`)
  process.exitCode = 1
}
