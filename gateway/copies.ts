import type { EnvelopeId } from '../protocol/identifiers.ts'
import type { SealedCopy } from './sealing.ts'

/** Sealed copies for one-click links, one or more an envelope (a second sealing stands beside the first; the newest is served). */
export type Copies = {
  /**
   * Keeps the copy under the envelope's id, whole or not at all. `durable` fsyncs file and folder before it resolves: for mails that do not
   * carry their envelope.
   */
  put(id: EnvelopeId, copy: SealedCopy, options: { readonly durable: boolean }): Promise<void>
  /** The newest copy, or null. */
  get(id: EnvelopeId): Promise<{ readonly size: number; chunks(): AsyncIterable<Uint8Array> } | null>
  has(id: EnvelopeId): Promise<boolean>
  /** Removes what there is; true if there was something. */
  delete(id: EnvelopeId): Promise<boolean>
}
