import { parseOrgId } from '../protocol/identifiers.ts'
import { readYaml } from '../protocol/yaml-text.ts'
import { type Account, isPasswordHash } from './accounts.ts'
import { isLoopback } from './address-range.ts'
import { type Reading, secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'

/** Who may sign in at a listener. */
export type AccountsConfig = {
  readonly list: readonly Account[]
  /** Users who are not in the list sign in with the password that their provider knows. */
  readonly provider: boolean
}

/** The accounts of a listener; null: nobody can sign in. Faults are noted in `reading`. */
export function accountsOf(
  reading: Reading,
  { accounts, tls, signInWithoutTls }: ConfigFile['listeners'][number],
  place: string,
): AccountsConfig | null {
  if (accounts === undefined) return null
  const { faults, file } = reading
  const { file: name, provider = false } = typeof accounts === 'string' ? { file: accounts } : accounts
  if (tls === undefined && !signInWithoutTls)
    faults.push(`${place} > accounts: give tls, without which nobody can sign in`)
  if (name === undefined && !provider) faults.push(`${place} > accounts: expected file, or provider: true`)
  for (const [id, { nextHop }] of provider ? Object.entries(file.organizations) : []) {
    if (nextHop === 'mx' || nextHop.mx !== undefined) {
      faults.push(
        `${place} > accounts > provider: organizations > ${id} > nextHop is mx, and no server there knows passwords`,
      )
      continue
    }
    const mode = nextHop.tls?.mode ?? (isLoopback(nextHop.host ?? '') ? 'opportunistic' : 'verify')
    if (mode === 'verify' || mode === 'pin') continue
    faults.push(
      `${place} > accounts > provider: passwords go to verified next hops only; organizations > ${id} > nextHop > tls needs mode verify or pin`,
    )
  }
  return { list: name === undefined ? [] : readAccounts(reading, name, place), provider }
}

/** A YAML list of `{user, org, hash}`; the command `sealpost smtp-user` writes its items. */
function readAccounts(reading: Reading, name: string, place: string): Account[] {
  const { faults, file } = reading
  const text = secretOf(reading, { file: name }, `${place} > accounts`)
  if (text === null) return []
  const read = readYaml(text)
  const items = 'value' in read ? read.value : null
  if (!Array.isArray(items)) {
    faults.push(`${place} > accounts: ${name} is not a YAML list of {user, org, hash}`)
    return []
  }
  const accounts: Account[] = []
  for (const [index, item] of items.entries()) {
    const { user, org, hash } = (item ?? {}) as {
      readonly user?: unknown
      readonly org?: unknown
      readonly hash?: unknown
    }
    const id = typeof org === 'string' ? parseOrgId(org) : null
    const known = id !== null && file.organizations[id] !== undefined
    const readable = typeof user === 'string' && typeof hash === 'string' && isPasswordHash(hash)
    if (known && readable && id !== null) accounts.push({ user, org: id, hash })
    else
      faults.push(
        `${place} > accounts: item ${index + 1} of ${name} needs user, an org of this file, and a hash of smtp-user`,
      )
  }
  return accounts
}
