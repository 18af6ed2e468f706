import fc from 'fast-check'
import t from 'tap'
import { formatDuration, parseDuration } from '../../rulebook/index.ts'

t.test('one whole number and one unit are read as seconds', async (t) => {
  const cases: [string, number | null][] = [
    ['30d', 2_592_000],
    ['12h', 43_200],
    ['90m', 5400],
    ['45s', 45],
    ['2w', 1_209_600],
    [' 7D ', 604_800],
    ['3660d', 316_224_000],
    ['3661d', null],
    ['9999999999s', null],
    ['99999999999s', null],
    ['0d', null],
    ['d', null],
    ['7', null],
    ['-7d', null],
    ['1.5d', null],
    ['7dd', null],
    ['7 d', null],
    ['1d12h', null],
    ['٧d', null],
    ['7\nd', null],
    ['', null],
  ]
  for (const [text, seconds] of cases) t.equal(parseDuration(text), seconds, JSON.stringify(text))
})

t.test('what is formatted is read back', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 316_224_000 }),
      (seconds) => parseDuration(formatDuration(seconds)) === seconds,
    ),
  )
})
