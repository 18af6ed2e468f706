import type { SpoolStats } from './spool.ts'

/** For /metrics, Prometheus text format 0.0.4. */
export function renderSpool({ entries, octets, held, damaged, oldestAt }: SpoolStats, now: Date): string {
  const age = oldestAt === null ? 0 : Math.max(0, (now.getTime() - oldestAt) / 1000)
  return [
    ...gauge('sealpost_gateway_spool_entries', 'Mails that wait in the spool.', entries),
    ...gauge('sealpost_gateway_spool_octets', 'Octets of the spool on disk.', octets),
    ...gauge('sealpost_gateway_spool_held', 'Mails of the spool that are on hold.', held),
    ...gauge('sealpost_gateway_spool_damaged', 'Files of the spool that cannot be read.', damaged),
    ...gauge('sealpost_gateway_spool_oldest_seconds', 'Age of the oldest mail of the spool.', age),
    '',
  ].join('\n')
}

/** For /health/ready. Mail that waits is no reason: that is what the spool is for. */
export function spoolReasons({ damaged, full, lost }: SpoolStats): readonly string[] {
  return [
    ...(lost ? ['the folder of the spool is gone, or cannot be looked at: put it back'] : []),
    ...(full ? ['the disk of the spool is almost full: free some space'] : []),
    ...(damaged > 0 ? [`${damaged} files of the spool cannot be read: see the log`] : []),
  ]
}

function gauge(name: string, help: string, value: number): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${value}`]
}
