import t from 'tap'
import { cpuOfMachine, cpuOfTree } from '../../bench/cpu.ts'
import { benchMail } from '../../bench/mail.ts'
import { megabytesOf } from '../../bench/memory.ts'
import { faultOf } from '../../bench/precheck.ts'
import { lastCount } from '../../bench/sink.ts'
import { latencyOf, median, percentile } from '../../bench/statistics.ts'

t.test('the median is the middle, whatever the order', async (t) => {
  t.equal(median([9, 1, 5]), 5)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.ok(Number.isNaN(median([])))
})

t.test('99 of 100 are at or under the 99th percentile', async (t) => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  t.equal(percentile(hundred, 0.99), 99)
  t.equal(percentile(hundred, 1), 100)
  t.same(latencyOf(hundred), { count: 100, p50: 50, p99: 99 })
})

t.test('the sink counts by the newest number that is whole', async (t) => {
  t.equal(lastCount('sess=1 quit=0 mesg=8\rsess=1 quit=0 mesg=9\rsess=1 quit=0 mesg=1'), 9)
  t.equal(lastCount('sess=1 quit=0 mesg='), null)
})

t.test('a mail of the benchmark has about its size, CRLF line ends, and nothing to stuff or to compress', async (t) => {
  for (const size of [10_000, 75_000, 1_000_000]) {
    const { before, after } = benchMail(size)
    const text = Buffer.concat([before, Buffer.from('id.1'), after]).toString('latin1')
    t.ok(Math.abs(text.length - size) < 200, `${text.length} for ${size}`)
    t.notMatch(text, /(?<!\r)\n|\r(?!\n)|\r\n\./)
    t.ok(text.endsWith('\r\n'))
    t.ok(text.split('\r\n').every((line) => line.length <= 998))
  }
})

t.test('the look before measuring finds content in the clear, and a mail without an envelope', async (t) => {
  const mail = benchMail(10_000)
  t.match(faultOf(mail.after, mail), /in the clear/)
  t.match(faultOf(Buffer.from('Subject: nothing\r\n\r\n'), mail), /without an envelope/)
})

t.test(
  'peak memory is read from /proc',
  { skip: process.platform !== 'linux' && 'Linux alone has it: skipped' },
  async (t) => {
    t.equal(megabytesOf('Name:\tnode\nVmHWM:\t  100000 kB\nVmRSS:\t 5 kB\n', 'VmHWM'), 102)
    t.throws(() => megabytesOf('Name:\tnode\n', 'VmHWM'), /no VmHWM/)
  },
)

t.test(
  'processor time grows with work',
  { skip: process.platform !== 'linux' && 'Linux alone has it: skipped' },
  async (t) => {
    const before = cpuOfTree(process.pid)
    const machine = cpuOfMachine()
    for (const end = performance.now() + 200; performance.now() < end; ) Math.sqrt(end)
    t.ok(cpuOfTree(process.pid) > before)
    t.ok(cpuOfMachine().all > machine.all)
    t.equal(cpuOfTree(2 ** 30), 0)
  },
)
