import { parseArgs } from 'node:util'
import { exits, type Io, UsageError } from './io.ts'
import { createOfficer, fieldOf, officerOptions } from './officer.ts'

/** `sealpost clock accept --reason TEXT`: an officer says that the key server's clock is right, so that it shreds again. */
export async function clock(argv: readonly string[], io: Io): Promise<number> {
  const [action, ...rest] = argv
  if (action !== 'accept') throw new UsageError(`clock: say accept, not ${action ?? 'nothing'}`)
  const { values } = parseArgs({ args: rest, options: { ...officerOptions, reason: { type: 'string' } } })
  const reason = values.reason?.trim() ?? ''
  if (reason === '' || reason.length > 512) throw new UsageError('clock accept: give a --reason of 1 to 512 characters')
  const answer = await createOfficer(values).post('/v1/clock', { reason })
  io.out(`The key server takes ${fieldOf(answer, 'now') ?? 'what its clock shows'} as the right time and shreds again.`)
  return exits.ok
}
