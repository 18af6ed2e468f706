import { parseArgs } from 'node:util'
import { parseEnvelopeId, parseOrgId } from '../protocol/identifiers.ts'
import { shieldIds } from './dashed-id.ts'
import { exits, type Io, UsageError } from './io.ts'
import { createOfficer, fieldOf, officerOptions } from './officer.ts'

/** `sealpost revoke ORG ID --reason TEXT`: revokes one envelope through the key server's listener for officers. */
export async function revoke(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: shieldIds(argv),
    options: { ...officerOptions, reason: { type: 'string' } },
    allowPositionals: true,
  })
  const [orgText, idText, ...more] = positionals
  if (orgText === undefined || idText === undefined || more.length > 0) throw new UsageError('revoke: say ORG and ID')
  const org = parseOrgId(orgText)
  if (org === null) throw new UsageError(`revoke: ${JSON.stringify(orgText)} is no organization, such as acme.example`)
  const id = parseEnvelopeId(idText.replace(/^https?:\/\/[^/]+\/m\//, ''))
  if (id === null)
    throw new UsageError(`revoke: ${JSON.stringify(idText)} is no envelope id; it is the 22 characters after /m/`)
  const reason = values.reason?.trim() ?? ''
  if (reason === '' || reason.length > 512) throw new UsageError('revoke: give a --reason of 1 to 512 characters')
  const answer = await createOfficer(values).post('/v1/revoke', { org, id, reason })
  io.out(`Revoked ${id} at ${fieldOf(answer, 'revokedAt') ?? 'a time that was not told'}: nobody can open it any more.`)
  return exits.ok
}
