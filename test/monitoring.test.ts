import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { createRecipient } from '../cli/recipient.ts'
import { sendOnce } from './scenarios/dialogue.ts'
import { openScene, policyOf } from './scenarios/house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './scenarios/sink.ts'

t.setTimeout(60_000)

/* Dashboard and alerts name metrics: a running house must have each of them, with its labels. */
const root = join(import.meta.dirname, '..')
const page = readFileSync(join(root, 'docs', 'monitoring.md'), 'utf8')
const dashboard = JSON.parse(readFileSync(join(root, 'monitoring', 'grafana-dashboard.json'), 'utf8')) as {
  readonly panels: readonly {
    readonly id: number
    readonly type: string
    readonly title: string
    readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[]
  }[]
}
const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })))
type Rules = {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[]
}
const yamls = [...page.matchAll(/^```yaml\n(.*?)\n```$/gms)].map(([, text = '']) => parse(text) as unknown)
const alerts = (yamls[1] as Rules).groups.flatMap(({ rules }) => rules)

const RULES = [
  "{name: watched, when: message.subject.contains('offer'), then: refuse, because: no offers, observe: true}",
  "{name: no-passwords, when: message.subject.contains('password'), then: refuse, because: no passwords}",
]

/** Of Prometheus itself, and of the configuration that the page gives it. */
const FOREIGN = { metrics: ['up'], labels: ['instance', 'job', 'le'] }

/** Before anything happens, and after everything that makes a series: mail that is taken, refused and sealed, a code, a wrong one, an opening. */
async function exposed(): Promise<{ readonly quiet: string; readonly text: string }> {
  const sink = await startSink({ refuse: (to) => (to === 'nobody@example.org' ? '550 5.1.1 no such user' : null) })
  const scene = await openScene(t, { sink, policy: policyOf(RULES) })
  const { house } = scene
  const metricsAt = async (port: number) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const metrics = async () => (await metricsAt(house.ports.gatewayOps)) + (await metricsAt(house.ports.keyserverOps))
  const quiet = await metrics()
  const send = (to: readonly string[], subject: string) => {
    const octets = Buffer.from(
      `From: anna@acme.example\r\nTo: ${to.join(', ')}\r\nSubject: ${subject}\r\n\r\nwords\r\n`,
    )
    return sendOnce(house.ports.smtp, { from: 'anna@acme.example', to, octets })
  }
  await send(['bob@example.org', 'nobody@example.org'], 'Our offer')
  await send(['bob@example.org'], 'password: swordfish')
  const mail = sink.to('bob@example.org')[0]?.octets ?? Buffer.alloc(0)
  const envelope = envelopeIn(mail)
  const reader = await scene.prove(envelope, 'bob@example.org')
  await reader.open(envelope, sealedCopyIn(mail))
  const guesser = await createRecipient({ origin: house.origin, fetch })
  await guesser.askCode(envelope, 'bob@example.org')
  const guessed = await guesser.answer('00000000').then(
    () => true,
    () => false,
  )
  if (guessed) throw new Error('a wrong code was taken')
  return { quiet, text: await metrics() }
}

const { quiet, text } = await exposed()
const families = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => ({ name, type }))
const series = families.flatMap(({ name, type }) =>
  type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
)

/** The metrics of an expression, each with the labels that are asked of it. */
function namesIn(expr: string) {
  const metrics = [...expr.matchAll(/\b(sealpost_\w+|up)\b(?:\{([^}]*)\})?/g)].map(([, name = '', inside = '']) => ({
    name,
    labels: [...inside.matchAll(/(\w+)(?:=~|!=|=)"([^"]*)"/g)].map(([, label = '', value = '']) => ({ label, value })),
  }))
  const by = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, names = '']) => names.split(/, */))
  return { metrics, by }
}

const labelsOf = (metric: string) => [
  ...new Set(
    [...text.matchAll(new RegExp(`^${metric}\\{(.*)\\} `, 'gm'))].flatMap(([, inside = '']) =>
      [...inside.matchAll(/(\w+)="/g)].map(([, label]) => label),
    ),
  ),
]

for (const [what, exprs] of Object.entries({
  dashboard: queries.map(({ title, expr }) => ({ name: title, expr })),
  alerts: alerts.map(({ alert, expr }) => ({ name: alert, expr })),
})) {
  t.test(`every metric and label that the ${what} ask for is there`, async (t) => {
    t.ok(exprs.length > 10)
    for (const { name, expr } of exprs) {
      const { metrics, by } = namesIn(expr)
      t.ok(metrics.length > 0, `${name} asks for something`)
      for (const metric of metrics) {
        t.ok([...series, ...FOREIGN.metrics].includes(metric.name), `${name}: ${metric.name}`)
        const known = [...labelsOf(metric.name), ...FOREIGN.labels]
        for (const { label } of metric.labels) t.ok(known.includes(label), `${name}: ${metric.name} has ${label}`)
        for (const label of by) t.ok(known.includes(label), `${name}: ${metric.name} can be summed by ${label}`)
      }
      t.equal(expr.split('(').length, expr.split(')').length, `${name}: brackets close`)
    }
  })
}

t.test(
  'what alerts count stands at nought before it happens, so that the first time is an increase, too',
  async (t) => {
    for (const reason of ['disk-full', 'internal', 'key-server', 'policy', 'scanner'])
      t.match(quiet, `sealpost_gateway_refused_total{reason="${reason}"} 0\n`)
    for (const result of ['failed', 'full']) t.match(quiet, `sealpost_codes_total{result="${result}"} 0\n`)
  },
)

t.test('every metric that there is, is on the page, and none that there is not', async (t) => {
  const table = [...page.matchAll(/^\| (`sealpost_.*?) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name),
  )
  t.same(table.toSorted(), families.map(({ name }) => name).toSorted())
})

t.test(
  'the dashboard can be imported: ids and titles are its own, each panel has a question or is a row',
  async (t) => {
    const { panels } = dashboard
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    for (const { type, title, targets = [] } of panels) t.equal(targets.length > 0, type !== 'row', title)
    for (const { title, expr, legendFormat } of queries) {
      const [, label] = /\{\{(\w+)\}\}/.exec(legendFormat) ?? []
      if (label !== undefined) t.match(expr, `by (${label})`, title)
    }
  },
)

t.test('the ports to scrape are those of the sample configurations', async (t) => {
  const scraped = JSON.stringify(yamls[0])
  for (const sample of ['gateway/gateway.sample.yaml', 'keyserver/keyserver.sample.yaml']) {
    const { ops } = parse(readFileSync(join(root, sample), 'utf8')) as { readonly ops: { readonly port: number } }
    t.match(scraped, `127.0.0.1:${ops.port}`, sample)
  }
})
