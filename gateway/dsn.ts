import type { IntakeRecipient } from './intake.ts'

/** What a client wished to be told (RFC 3461), with MAIL and with each RCPT. */

/** RET and ENVID as given (xtext decoded); null without. */
export type MessageWish = {
  readonly ret: 'FULL' | 'HDRS' | null
  readonly envid: string | null
  /** REQUIRETLS (RFC 8689): only over verified TLS, to a next hop that promises the same. */
  readonly requireTls?: boolean
}

export type RecipientWish = Pick<IntakeRecipient, 'notify' | 'orcpt'>

/** The wishes that go along with one delivery, those of its recipients by the address that it is delivered to. */
export type DeliveryWishes = MessageWish & { readonly of: ReadonlyMap<string, RecipientWish> }

export function wishesOf(
  message: MessageWish,
  recipients: readonly (RecipientWish & { readonly mailbox: string })[],
): DeliveryWishes {
  return { ...message, of: new Map(recipients.map(({ mailbox, notify, orcpt }) => [mailbox, { notify, orcpt }])) }
}

/** Whether the sender is told of it. Who wished for nothing hears of failures and delays (RFC 3461 4.1). */
export function wants(notify: readonly string[] | null, event: 'SUCCESS' | 'FAILURE' | 'DELAY'): boolean {
  return notify === null ? event !== 'SUCCESS' : notify.includes(event)
}

/** ` RET=… ENVID=…` for MAIL, as far as wished. */
export function mailWishes({ ret, envid }: MessageWish): string {
  return (ret === null ? '' : ` RET=${ret}`) + (envid === null ? '' : ` ENVID=${xtext(envid)}`)
}

/** ` NOTIFY=… ORCPT=…` for RCPT, as far as wished. */
export function rcptWishes(wish: RecipientWish | undefined): string {
  if (wish === undefined) return ''
  const { notify, orcpt } = wish
  const split = orcpt?.indexOf(';') ?? -1
  const original =
    orcpt === null || split === -1 ? '' : ` ORCPT=${orcpt.slice(0, split)};${xtext(orcpt.slice(split + 1))}`
  return (notify === null ? '' : ` NOTIFY=${notify.join(',')}`) + original
}

/** RFC 3461 4. */
function xtext(text: string): string {
  return Buffer.from(text, 'utf8')
    .toString('latin1')
    .replace(/[^\x21-\x7e]|[+=]/g, (character) => {
      return `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
    })
}
