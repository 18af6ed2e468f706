import type { Config } from './config.ts'
import { KekError, openKekFile } from './kek-file.ts'
import { openKeyFolder } from './key-store.ts'
import { type Keyring, openKeyring } from './keyring.ts'
import type { Store } from './store.ts'

/** Made at the first start, and never again. */
const SERVER_KEYS = ['server/root.key', 'server/signing.key']

/**
 * Opens the keyring that belongs to this database. A new organization key is made only where neither database nor key store holds
 * anything; a key store, key or database that does not belong to the others is refused in plain words ({@link KekError}).
 */
export async function openKeys(config: Config, store: Store): Promise<Keyring> {
  const keys = await openKeyFolder(config.keyStore)
  const recorded = await store.read((reads) => reads.meta.get('kek'))
  const kept = await keys.list('')
  const kek = await openKekFile(config.kek.file, recorded === null && kept.length === 0)
  if (recorded !== null && recorded !== kek.id) {
    throw new KekError(
      `the organization key ${config.kek.file} is another one (${kek.id}) than the database was made under (${recorded}): put back the right one`,
    )
  }
  // A first start that was killed leaves the server's own keys, and no others.
  if (recorded === null && kept.some((name) => !name.startsWith('server/'))) {
    throw new KekError(
      `the database ${config.database} is empty, but the key store ${config.keyStore} holds keys of messages: mount its disk, correct its path or put it back from its backup; to begin anew without those messages, move the key store away`,
    )
  }
  if (recorded !== null && !SERVER_KEYS.every((name) => kept.includes(name))) {
    throw new KekError(
      `the key store ${config.keyStore} does not hold the keys of the database ${config.database}: put it back from its backup`,
    )
  }
  const keyring = await openKeyring(kek, keys)
  if (recorded === null) await store.transact((tx) => tx.meta.set('kek', kek.id), 'upkeep')
  return keyring
}
