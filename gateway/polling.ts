/** Something that is done again and again, one after another, until stopped. */
export type Polling = { stop(): Promise<void> }

/** `work` must not reject. The first time is now. */
export function startPolling(work: () => Promise<void>, everyMs: number): Polling {
  const stopping = new AbortController()
  const pause = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, everyMs)
      stopping.signal.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await work()
      if (!stopping.signal.aborted) await pause()
    }
  }
  const running = run()
  return {
    async stop() {
      stopping.abort()
      await running
    },
  }
}
