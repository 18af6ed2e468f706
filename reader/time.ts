/** '12 March 2027, 14:05', in the browser's own time zone. */
export function timeInWords(time: string): string {
  const date = new Date(time)
  const day = date.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric' })
  const clock = date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
  return `${day}, ${clock}`
}

/** How long from `now` (Unix milliseconds) to `time`, rounded down: '29 days', 'an hour', 'less than a minute'. */
export function spanInWords(time: string, now: number): string {
  const minutes = Math.floor((Date.parse(time) - now) / 60_000)
  if (minutes >= 2 * 24 * 60) return `${Math.floor(minutes / (24 * 60))} days`
  if (minutes >= 24 * 60) return 'a day'
  if (minutes >= 120) return `${Math.floor(minutes / 60)} hours`
  if (minutes >= 60) return 'an hour'
  if (minutes >= 2) return `${minutes} minutes`
  return minutes === 1 ? 'a minute' : 'less than a minute'
}
