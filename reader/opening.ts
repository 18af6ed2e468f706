import { EnvelopeError } from '../envelope/fault.ts'
import { identifyOctets, open } from '../envelope/reader.ts'
import type { Release } from '../protocol/reader-api.ts'
import { type Answer, parseRelease } from './answer.ts'
import type { Api } from './api.ts'
import { fromBase64url, sha256 } from './base64url.ts'
import { fetchCopy, LARGEST_COPY, type Progress } from './copy.ts'
import { createAgreementKey, openJwe } from './jwe.ts'
import type { Refusal } from './refusal.ts'

/** The message and all that the key server vouches for about it. */
export type Opened = { readonly kind: 'opened'; readonly release: Release; readonly message: Uint8Array<ArrayBuffer> }
export type Refused = { readonly kind: 'refused'; readonly refusal: Refusal }

export type Stage = 'fetching' | 'asking' | 'opening'

export type OpeningParts = {
  readonly api: Api
  readonly fetch: typeof fetch
  /** Of the session. */
  readonly token: string
  readonly onStage: (stage: Stage) => void
  readonly onProgress: Progress
}

/**
 * Fetches the sealed copy of `envelope`, by a ticket of the key server.
 */
export async function fetchSealed(
  envelope: string,
  { api, fetch, token, onStage, onProgress }: OpeningParts,
): Promise<{ readonly kind: 'copy'; readonly octets: Uint8Array<ArrayBuffer> } | Refused> {
  onStage('fetching')
  const ticket = await api.ticket(token, envelope)
  if (ticket.kind !== 'ok') return refused(ticket)
  const fetched = await fetchCopy(ticket.value.urls, ticket.value.ticket, { fetch, onProgress })
  if (fetched.kind === 'copy') return fetched
  return { kind: 'refused', refusal: { kind: fetched.kind === 'absent' ? 'no-copy' : 'copy-unreachable' } }
}

/**
 * Opens a sealed copy of `envelope`: asks for release, checks that copy, release and request belong together (docs/format.md, section Reading), and
 * decrypts. Gives the message only when all of it is verified.
 */
export async function openSealed(
  octets: Uint8Array<ArrayBuffer>,
  envelope: string,
  parts: OpeningParts,
): Promise<Opened | Refused> {
  try {
    if (octets.length > LARGEST_COPY) return { kind: 'refused', refusal: { kind: 'too-large' } }
    const { context, wrappedKey } = identifyOctets(octets)
    if (context.envelope !== envelope) return damaged('envelope')
    parts.onStage('asking')
    const key = await createAgreementKey()
    const answer = await parts.api.release(parts.token, envelope, wrappedKey, key)
    if (answer.kind !== 'ok') return refused(answer)
    const bound = { envelope, proof: answer.proof }
    const release = parseRelease(await openJwe(answer.value, key, bound))
    const dataKey = release === null ? null : fromBase64url(release.dataKey)
    if (release === null || dataKey === null) return damaged('release')
    parts.onStage('opening')
    const digest = await sha256(octets)
    const copy = release.copies.find((one) => one.digest === digest && one.sealedSize === octets.length)
    if (copy === undefined) return damaged('digest')
    if (release.org !== context.org || release.termsHash !== context.terms) return damaged('context')
    const { message } = await open([octets], {
      unlock: () => ({ dataKey, plainSize: copy.plainSize }),
      onProgress: (have) => parts.onProgress(have, octets.length),
    })
    return { kind: 'opened', release, message }
  } catch (error) {
    if (error instanceof EnvelopeError) return damaged(error.code)
    throw error
  }
}

function damaged(what: string): Refused {
  return { kind: 'refused', refusal: { kind: 'damaged', what } }
}

function refused(answer: Exclude<Answer<unknown>, { kind: 'ok' }>): Refused {
  return { kind: 'refused', refusal: answer }
}
