/** What is looked at, in the order in which it is told. */
export type Area =
  | 'configuration'
  | 'gateway'
  | 'certificates'
  | 'key server'
  | 'clock'
  | 'next hop'
  | 'scanner'
  | 'loops'
  | 'spool'
  | 'held'
  | 'open relay'
  | 'disk'
  | 'dns'
  | 'dkim'
  | 'canary'

/** One thing that was looked at. `broken`: mail is or will be hurt. `look`: it may be meant so, or could not be found out. */
export type Finding = {
  readonly level: 'ok' | 'look' | 'broken'
  readonly area: Area
  /** What was found, a sentence. */
  readonly found: string
  /** What to do, a sentence; null where nothing is. */
  readonly todo: string | null
}

export const ok = (area: Area, found: string): Finding => ({ level: 'ok', area, found, todo: null })
export const look = (area: Area, found: string, todo: string): Finding => ({ level: 'look', area, found, todo })
export const broken = (area: Area, found: string, todo: string): Finding => ({ level: 'broken', area, found, todo })

/** For a terminal: a line for each finding, what to do below it, and how many there are. */
export function renderFindings(findings: readonly Finding[]): string[] {
  const lines = findings.flatMap(({ level, area, found, todo }) => [
    `${level.padEnd(7)} ${area.padEnd(13)} ${found}`,
    ...(todo === null ? [] : [`${' '.repeat(22)}-> ${todo}`]),
  ])
  const count = (level: Finding['level']) => findings.filter((one) => one.level === level).length
  return [...lines, '', `${count('broken')} broken, ${count('look')} to look at, ${count('ok')} ok`]
}

/** The message of whatever was thrown, on one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error)
  return text.replace(/[\p{Cc}\s]+/gu, ' ').slice(0, 300)
}
