import t from 'tap'
import type { Figure } from '../../bench/figure.ts'
import { plot } from '../../bench/plot.ts'
import { createResults, lastRun, readResults } from '../../bench/results.ts'

const figure: Figure = { name: '10 KB & more', unit: '/s', ours: 300, postfix: 600, target: null, note: '' }
const head = {
  kind: 'head',
  at: '2026-01-02T03:04:05.000Z',
  command: 'npm run bench',
  rounds: 3,
  processor: 'a processor',
  cores: 2,
  memoryGb: 24,
  system: 'Debian',
  node: 'v24.21.0',
  postfix: '3.7.11',
  load: 0,
} as const

t.test('the drawing has a bar for each side, in parts of Postfix, and its words are escaped', async (t) => {
  const svg = plot([figure, { ...figure, name: 'alone', postfix: null }], 'a <machine>')
  const bars = [...svg.matchAll(/<rect class="(\w+)"[^>]* width="([\d.]+)"/g)].map(([, kind, width]) => [kind, width])
  t.equal(bars.length, 2)
  t.equal(Number(bars[0]?.[1]) * 2, Number(bars[1]?.[1]))
  t.match(svg, '10 KB &#38; more')
  t.match(svg, 'a &#60;machine&#62;')
  t.notMatch(svg, 'alone')
})

t.test('results are lines that stay, and the last run is what counts', async (t) => {
  const file = `${t.testdir()}/results/today.jsonl`
  for (const ours of [300, 400]) {
    const { keep } = createResults(file)
    keep(head)
    keep({ kind: 'figure', ...figure, ours })
  }
  t.equal(readResults(file).head.node, 'v24.21.0')
  t.same(
    readResults(file).figures.map(({ ours }) => ours),
    [400],
  )
  t.throws(() => lastRun(''), /no run/)
})
