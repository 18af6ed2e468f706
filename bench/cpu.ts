import { readdirSync, readFileSync } from 'node:fs'

/** Milliseconds of processor time, from Linux' /proc, whose grain is 10 ms. */

const TICK = 10

/** What the process and all that it started have used so far, those that have ended included. 0 where there is no such process. */
export function cpuOfTree(root: number): number {
  const children = new Map<number, number[]>()
  const used = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? readStat(name) : null
    if (stat === null) continue
    used.set(Number(name), stat.used)
    children.set(stat.parent, [...(children.get(stat.parent) ?? []), Number(name)])
  }
  const sum = (pid: number): number =>
    (children.get(pid) ?? []).reduce((total, child) => total + sum(child), used.get(pid) ?? 0)
  return sum(root)
}

/** What the whole machine has used, and what it could have. */
export function cpuOfMachine(): { readonly busy: number; readonly all: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  // user nice system idle iowait irq softirq steal; see proc(5).
  const fields = line.split(/\s+/).slice(1, 9).map(Number)
  const all = fields.reduce((sum, field) => sum + field, 0)
  return { busy: (all - (fields[3] ?? 0) - (fields[4] ?? 0)) * TICK, all: all * TICK }
}

function readStat(pid: string): { readonly parent: number; readonly used: number } | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null // It has ended meanwhile.
  }
  // The second field is a name that may hold anything; behind its bracket stand state, ppid and so on.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const times = fields.slice(11, 15).map(Number)
  return { parent: Number(fields[1]), used: times.reduce((sum, time) => sum + time, 0) * TICK }
}
