import { constants, PerformanceObserver } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { collectAfterLoading, collectAsNewerEngines } from '../../gateway/collector.ts'

t.test('buffers that live for a moment do not make the whole heap be looked through', async (t) => {
  collectAsNewerEngines()
  let whole = 0
  const observer = new PerformanceObserver((list) => {
    whole += list.getEntries().filter(isWhole).length
  })
  observer.observe({ entryTypes: ['gc'] })
  for (let count = 0; count < 8000; count++) {
    Buffer.allocUnsafeSlow(256 * 1024)
    if (count % 8 === 0) await setImmediate()
  }
  await setImmediate()
  observer.disconnect()
  t.ok(whole <= 5, `${whole} times for 2 GB`)
})

function isWhole(entry: object): boolean {
  const { detail } = entry as { readonly detail?: { readonly kind?: number } }
  return detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR
}

t.test('what loading left behind is no memory of the process afterwards', (t) => {
  let left: unknown = Array.from({ length: 2_000_000 }, (_, n) => ({ n }))
  const before = process.memoryUsage.rss()
  t.ok(left)
  left = null
  collectAfterLoading()
  t.ok(before - process.memoryUsage.rss() > 40_000_000)
  t.end()
})
