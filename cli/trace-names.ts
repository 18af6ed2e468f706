import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { openSide } from '../audit/personal.ts'
import { type KekProvider, openKekFile } from '../keyserver/kek-file.ts'
import { openKeyFolder } from '../keyserver/key-store.ts'
import { openPersonKeys } from '../keyserver/keyring.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { exits, Failure } from './io.ts'

/** Opens the values that lie sealed beside the log: network addresses, and what a provider said. */
export type Values = {
  /** The values of these persons beside one record, by their commitments; those that do not open are not among them. */
  beside(org: string, side: Uint8Array | null, pseudonyms: readonly string[]): Promise<ReadonlyMap<string, string>>
}

export type KeyPlaces = { readonly keyStore: string | undefined; readonly kek: string | undefined }

/**
 * With the key store and the organization key that are named, or that lie beside the database as the sample configuration has them. Null where
 * there are none at all, or only some that this user may not read: then those values stay sealed. Throws a {@link Failure} where the
 * places that were named cannot be used.
 */
export async function openValues(database: string, named: KeyPlaces): Promise<Values | null> {
  const isNamed = named.keyStore !== undefined || named.kek !== undefined
  const keyStore = named.keyStore ?? join(dirname(database), 'keys')
  const kekFile = named.kek ?? join(dirname(database), 'organization.key')
  const missing = [keyStore, kekFile].find((path) => !existsSync(path))
  if (missing !== undefined) {
    if (!isNamed) return null
    throw new Failure(`${missing}: there is no such file or folder; give --key-store and --kek both`, exits.usage)
  }
  let kek: KekProvider
  try {
    kek = await openKekFile(kekFile, false)
  } catch (error) {
    if (!isNamed) return null
    throw new Failure(error instanceof Error ? error.message : String(error), exits.config)
  }
  const { personKey } = openPersonKeys(kek, await openKeyFolder(keyStore))
  const known = new Map<string, Promise<Uint8Array | null>>()
  const keyOf = (org: string, pseudonym: string) => {
    const place = `${org}\n${pseudonym}`
    // An organization's log bears its id. A key that cannot be read leaves its values sealed, and the others open.
    const key = known.get(place) ?? personKey(org as OrgId, pseudonym).catch(() => null)
    known.set(place, key)
    return key
  }
  return {
    beside: async (org, side, pseudonyms) => {
      const values = new Map<string, string>()
      if (side === null) return values
      for (const pseudonym of new Set(pseudonyms)) {
        const key = await keyOf(org, pseudonym)
        const opened = key === null ? null : openSide(key, org, pseudonym, side)
        for (const [commitment, value] of opened ?? []) values.set(commitment, value)
      }
      return values
    },
  }
}
