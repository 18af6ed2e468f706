import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { run } from './child.ts'

/** What a figure means nothing without. */
export type Machine = {
  readonly processor: string
  readonly cores: number
  readonly memoryGb: number
  readonly system: string
  readonly node: string
  readonly postfix: string | null
  /** Of the last minute, before the start: beyond 0 it is somebody else's. */
  readonly load: number
}

export async function describeMachine(): Promise<Machine> {
  const [first] = cpus()
  const name = existsSync('/etc/os-release')
    ? /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))
    : null
  const postfix = existsSync('/usr/sbin/postconf') ? (await run('postconf', ['-dh', 'mail_version'])).trim() : null
  return {
    processor: first?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${name?.[1] ?? process.platform}, Linux ${release().split('.').slice(0, 2).join('.')}`,
    node: process.version,
    postfix,
    load: Number((loadavg()[0] ?? 0).toFixed(1)),
  }
}

/** One line for a person. */
export function machineInWords(machine: Machine): string {
  const { cores, processor, memoryGb, system, node, postfix, load } = machine
  const relay = postfix === null ? 'no Postfix' : `Postfix ${postfix}`
  return `${cores} cores (${processor}), ${memoryGb} GB, ${system}, Node ${node}, ${relay}, load ${load} at the start`
}
