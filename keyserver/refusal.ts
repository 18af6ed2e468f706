import { rfc3339 } from './door.ts'
import { KeyServerError } from './error.ts'
import type { Life } from './standing.ts'

/** What a proven recipient or sender is told of an envelope that lives no more. */
export function refusalOf(life: Exclude<Life, { kind: 'living' }>): KeyServerError {
  return new KeyServerError(life.kind, { detail: wordsFor(life.kind), at: rfc3339(life.at) })
}

export function wordsFor(kind: Exclude<Life['kind'], 'living'>): string {
  switch (kind) {
    case 'revoked':
      return 'The sender has revoked this message. Nobody can open it any more.'
    case 'expired':
      return 'This message has expired. Please ask the sender to send it again.'
    case 'held':
      return 'This message has not been sent yet: the organization of its sender looks at it first. You get it by mail once it is let go.'
  }
}
