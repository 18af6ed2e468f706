import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createBulk } from '../../gateway/bulk.ts'

t.test('what waits while calls are in flight shares the next one, in order', async (t) => {
  const calls: number[] = []
  const bulk = createBulk<number, string>({
    async send(requests) {
      calls.push(requests.length)
      await sleep(20)
      return requests.map(({ body }) => `answer ${body}`)
    },
    ...{ encode: String, lanes: 2, most: { items: 5, characters: 1000 } },
  })
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => bulk(n)))
  t.strictSame(
    answers,
    Array.from({ length: 20 }, (_, n) => `answer ${n}`),
  )
  t.strictSame(calls.slice(0, 2), [1, 1], 'the first ones do not wait')
  t.ok(calls.length <= 7, `${calls.length} calls for twenty requests`)
  t.ok(Math.max(...calls) <= 5)
})

t.test('a call is no larger than allowed, but for a single item', async (t) => {
  const sizes: number[] = []
  const bulk = createBulk<string, string>({
    async send(requests) {
      sizes.push(requests.map(({ body }) => body).join('').length)
      await sleep(1)
      return requests.map(({ body }) => body)
    },
    ...{ encode: (text) => text, lanes: 1, most: { items: 100, characters: 10 } },
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
    ...{ encode: String, lanes: 1, most: { items: 10, characters: 100 } },
  })
  const settled = await Promise.allSettled([1, 2, 3].map(bulk))
  t.strictSame(
    settled.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected'],
  )
})
