import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'

/** An envelope's octets, complete: sizes and digest are known. */
export type SealedCopy = {
  /** SHA-256 of the sealed octets, base64url. */
  readonly digest: string
  readonly sealedSize: number
  readonly plainSize: number
  /** The whole, where it lies in memory; null where it lies in a file. */
  readonly bytes: Uint8Array | null
  /** The octets, as often as asked until disposed of. */
  chunks(): AsyncIterable<Uint8Array>
  /** Frees the file, if any; may be called again. */
  dispose(): Promise<void>
}

/** What one sealing needs, from the key server's answer. */
export type SealingKey = {
  readonly org: OrgId
  readonly id: EnvelopeId
  /** 32 octets; zeroed by nobody but its owner. */
  readonly dataKey: Uint8Array
  /** 60 octets. */
  readonly wrappedKey: Uint8Array
  readonly termsHash: string
}

export type Sealing = {
  /** Seals the octets of `plain`. Rejects with whatever `plain` fails with; leaves no file behind then. */
  seal(plain: AsyncIterable<Uint8Array>, key: SealingKey): Promise<SealedCopy>
}
