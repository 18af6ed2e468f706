import t from 'tap'
import { type Figure, isReached, ratioOf, tableOf } from '../../bench/figure.ts'

const rate: Figure = {
  name: '10 KB, 20 kept connections',
  unit: '/s',
  ours: 450,
  postfix: 660,
  target: { of: 'ratio', kind: 'least', value: 0.6 },
  note: '',
}
const time: Figure = {
  ...rate,
  name: 'p99',
  unit: 'ms',
  ours: 101,
  postfix: null,
  target: { of: 'figure', kind: 'most', value: 100 },
}

t.test('a target in parts of Postfix is held against the ratio', async (t) => {
  t.equal(isReached(rate), true)
  t.equal(isReached({ ...rate, ours: 390 }), false)
})

t.test('without Postfix there is no ratio, and nobody says that its target was reached', async (t) => {
  t.equal(ratioOf({ ...rate, postfix: null }), null)
  t.equal(isReached({ ...rate, postfix: null }), null)
  t.match(tableOf([{ ...rate, postfix: null }]), /≥ 0\.6 of Postfix +\|/)
})

t.test('a bound above is missed from one above it on', async (t) => {
  t.equal(isReached(time), false)
  t.equal(isReached({ ...time, ours: 100 }), true)
  t.match(tableOf([time]), '≤ 100: missed')
})

t.test('the table is Markdown with a row for each figure', async (t) => {
  const lines = tableOf([rate, time]).split('\n')
  t.equal(lines.length, 4)
  t.equal(new Set(lines.map((line) => line.split('|').length)).size, 1)
  t.match(lines[2], '450 /s')
  t.match(lines[2], '0.68')
})
