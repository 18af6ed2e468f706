import type { HoldStats } from './holds.ts'

/** For /metrics, Prometheus text format 0.0.4. */
export function renderHolds({ mails, octets, damaged, oldestAt }: HoldStats, now: Date): string {
  const age = oldestAt === null ? 0 : Math.max(0, (now.getTime() - oldestAt) / 1000)
  return [
    ...gauge('sealpost_gateway_held_mails', 'Mails that wait for an officer.', mails),
    ...gauge('sealpost_gateway_held_octets', 'Octets of held mails on disk.', octets),
    ...gauge('sealpost_gateway_held_damaged', 'Files of held mails that cannot be read.', damaged),
    ...gauge('sealpost_gateway_held_oldest_seconds', 'Age of the oldest held mail.', age),
    '',
  ].join('\n')
}

/** For /health/ready. */
export function holdReasons({ damaged }: HoldStats): readonly string[] {
  return damaged > 0 ? [`${damaged} held mails cannot be read: see the log`] : []
}

function gauge(name: string, help: string, value: number): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${value}`]
}
