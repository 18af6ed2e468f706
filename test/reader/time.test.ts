import t from 'tap'
import { spanInWords, timeInWords } from '../../reader/time.ts'

t.test('a time is a date and a clock that anybody can read', (t) => {
  t.match(timeInWords('2027-03-12T13:05:00Z'), /^1[23] March 2027, \d\d:\d\d$/)
  t.end()
})

t.test('a span is in one unit, rounded down', (t) => {
  const now = Date.parse('2027-01-01T00:00:00Z')
  for (const [seconds, words] of [
    [20, 'less than a minute'],
    [60, 'a minute'],
    [119 * 60, 'an hour'],
    [120 * 60, '2 hours'],
    [24 * 3600, 'a day'],
    [47 * 3600, 'a day'],
    [30 * 86_400 - 1, '29 days'],
  ] as const) {
    t.equal(spanInWords(new Date(now + seconds * 1000).toISOString(), now), words)
  }
  t.end()
})
