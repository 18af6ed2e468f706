import {
  EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node'

export const PROVIDER_ID = 'sealpost'

/** What a keyring needs of an envelope. */
export type OneKey = {
  readonly dataKey: Uint8Array
  readonly wrappedKey: Uint8Array
  readonly context: { readonly envelope: string }
}

/**
 * A keyring for the Encryption SDK that holds one data key, already wrapped elsewhere, and gives it for sealing as the one encrypted data
 * key and for opening again.
 */
export function createOneKeyring(key: OneKey): KeyringNode {
  return new OneKeyring(key)
}

class OneKeyring extends KeyringNode {
  readonly #key: OneKey

  constructor(key: OneKey) {
    super()
    this.#key = key
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { wrappedKey, context } = this.#key
    const trace = { keyNamespace: PROVIDER_ID, keyName: context.envelope }
    material.setUnencryptedDataKey(this.#copy(), {
      ...trace,
      flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY,
    })
    const encrypted = new EncryptedDataKey({
      providerId: PROVIDER_ID,
      providerInfo: context.envelope,
      encryptedDataKey: new Uint8Array(wrappedKey),
    })
    return material.addEncryptedDataKey(encrypted, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
  }

  async _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
    return material.setUnencryptedDataKey(this.#copy(), {
      keyNamespace: PROVIDER_ID,
      keyName: this.#key.context.envelope,
      flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY,
    })
  }

  /** The SDK zeroes the buffer that it is given, and wants one that is nothing but the key. */
  #copy(): Uint8Array {
    return new Uint8Array(this.#key.dataKey)
  }
}
