import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Has garbage collected by the rule of newer engines: octets outside of the heap count towards one limit with it. V8 13, which comes with Node 24,
 * looks through the whole heap for each 64 MB of them instead, however small the heap and however short they live: of a mail of 5 MB that
 * was half of all processor time. Newer engines have this rule and no such flag. To be called before there is much to collect.
 */
export function collectAsNewerEngines(): void {
  if (process.versions.v8.startsWith('13.')) setFlagsFromString('--external-memory-accounted-in-global-limit')
}

/**
 * Collects once, thoroughly, and gives the pages back to the system: of what the loading of some hundred files leaves behind (40 MB) the engine would keep most
 * for as long as the process runs. From then on the heap may double between two collections; as small as it is now the engine would else
 * collect four times as often. Takes some tens of milliseconds.
 */
export function collectAfterLoading(): void {
  setFlagsFromString('--expose-gc')
  const collect: NodeJS.GCFunction = runInNewContext('gc')
  setFlagsFromString('--heap-growing-percent=100')
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
