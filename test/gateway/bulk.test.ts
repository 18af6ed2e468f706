import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createBulk } from '../../gateway/bulk.ts'

t.test('what waits while a call is in flight shares the next one, in order', async (t) => {
  const calls: number[] = []
  const bulk = createBulk<number, string>({
    async send(requests) {
      calls.push(requests.length)
      await sleep(20)
      return requests.map(({ body }) => `answer ${body}`)
    },
    ...{ encode: String, patienceMs: () => 0, most: { items: 5, characters: 1000 } },
  })
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => bulk(n)))
  t.strictSame(
    answers,
    Array.from({ length: 20 }, (_, n) => `answer ${n}`),
  )
  t.strictSame(calls, [1, 5, 5, 5, 4], 'the first one does not wait')
})

t.test('a call is no larger than allowed, but for a single item', async (t) => {
  const sizes: number[] = []
  const bulk = createBulk<string, string>({
    async send(requests) {
      sizes.push(requests.map(({ body }) => body).join('').length)
      await sleep(1)
      return requests.map(({ body }) => body)
    },
    ...{ encode: (text) => text, patienceMs: () => 0, most: { items: 100, characters: 10 } },
  })
  await Promise.all(['aaaa', 'bbbb', 'cccc', 'd'.repeat(30), 'e'].map(bulk))
  t.strictSame(sizes, [4, 8, 30, 1])
})

t.test('a failed call fails its own items only, and a short answer those that it lacks', async (t) => {
  let calls = 0
  const bulk = createBulk<number, number>({
    async send(requests) {
      calls += 1
      await sleep(5)
      if (calls === 1) throw new Error('not answered')
      return requests.slice(1).map(({ request }) => request)
    },
    ...{ encode: String, patienceMs: () => 0, most: { items: 10, characters: 100 } },
  })
  const settled = await Promise.allSettled([1, 2, 3].map(bulk))
  t.strictSame(
    settled.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected'],
  )
})

/** A call takes 20 ms; says when each left, in milliseconds, and with how many. */
function timed(patienceMs: number) {
  const calls: { at: number; items: number }[] = []
  const start = performance.now()
  const bulk = createBulk<number, number>({
    async send(requests) {
      calls.push({ at: performance.now() - start, items: requests.length })
      await sleep(20)
      return requests.map(({ request }) => request)
    },
    ...{ encode: String, patienceMs: () => patienceMs, most: { items: 4, characters: 1000 } },
  })
  /** One who is back with another request some time after each answer. */
  const caller = async (requests: number, afterMs: number) => {
    for (let n = 0; n < requests; n++) {
      await bulk(n)
      await sleep(afterMs)
    }
  }
  return { calls, bulk, caller }
}

t.test('a call leaves with all whom the one before it served and kept waiting, once they are back', async (t) => {
  const { calls, caller } = timed(1_000)
  const start = performance.now()
  const callers = [caller(4, 5), caller(4, 5), caller(4, 5)]
  await Promise.all(callers)
  t.ok(performance.now() - start < 900, 'nobody waited until patience was at its end')
  t.strictSame(
    calls.map(({ items }) => items),
    [1, 2, 3, 3, 3],
  )
})

t.test('who does not come back is not waited for longer than patience lasts', async (t) => {
  const { calls, bulk } = timed(50)
  await Promise.all([bulk(1), bulk(2), bulk(3)])
  await bulk(4)
  t.strictSame(
    calls.map(({ items }) => items),
    [1, 2, 1],
  )
  const [, second, third] = calls.map(({ at }) => at)
  t.ok((third ?? 0) - (second ?? 0) >= 65, 'it waited for the other')
  t.ok((third ?? 0) - (second ?? 0) < 800)
})

t.test('one alone never waits', async (t) => {
  const { calls, caller } = timed(1_000)
  await caller(3, 0)
  t.strictSame(
    calls.map(({ items }) => items),
    [1, 1, 1],
  )
})

t.test('a full call waits for nobody', async (t) => {
  const { calls, bulk } = timed(1_000)
  const start = performance.now()
  await Promise.all(Array.from({ length: 9 }, (_, n) => bulk(n)))
  t.ok(performance.now() - start < 900)
  t.strictSame(
    calls.map(({ items }) => items),
    [1, 4, 4],
  )
})
