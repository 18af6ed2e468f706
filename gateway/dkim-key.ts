import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'

/** A key that signs for a domain and those below it, and under which selector its public half stands in DNS. */
export type DkimKey = {
  /** A-labels, lower case. */
  readonly domain: string
  readonly selector: string
  /** PEM, RSA or Ed25519, without a pass phrase. */
  readonly pem: string
}

/** RFC 8301 3.2 asks for 1024 and recommends 2048. */
const SHORTEST_RSA = 2048

/** One sentence on what is wrong with a private key in PEM, null where it can sign. Quotes nothing of it. */
export function dkimKeyFault(pem: string): string | null {
  const key = privateKeyOf(pem)
  if (key === null) return 'holds no readable PEM private key; make one with: sealpost dkim'
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'ed25519') return null
  if (type !== 'rsa') return 'is neither an RSA nor an Ed25519 key; make one with: sealpost dkim'
  const bits = details?.modulusLength ?? 0
  return bits < SHORTEST_RSA ? `is an RSA key of ${bits} bits; make one of ${SHORTEST_RSA} with: sealpost dkim` : null
}

/** The name of the DNS record of a key (RFC 6376 3.6.2.1). */
export function dkimRecordName(key: Pick<DkimKey, 'domain' | 'selector'>): string {
  return `${key.selector}._domainkey.${key.domain}`
}

/** The text of the DNS record that belongs to a private key (RFC 6376 3.6.1, RFC 8463 4). Throws if {@link dkimKeyFault} finds one. */
export function dkimRecord(pem: string): string {
  const { type, p } = publicHalf(pem)
  return `v=DKIM1; k=${type}; p=${p}`
}

/** Whether a DNS record, its strings joined, is there for this private key. */
export function isRecordOf(record: string, pem: string): boolean {
  const tags = new Map(
    record.split(';').map((tag): [string, string] => {
      const at = tag.indexOf('=')
      return [tag.slice(0, at).trim(), tag.slice(at + 1).replace(/\s+/g, '')]
    }),
  )
  const { type, p } = publicHalf(pem)
  return (tags.get('v') ?? 'DKIM1') === 'DKIM1' && (tags.get('k') ?? 'rsa') === type && tags.get('p') === p
}

function publicHalf(pem: string): { readonly type: 'rsa' | 'ed25519'; readonly p: string } {
  const key = createPublicKey(pem)
  const spki = key.export({ type: 'spki', format: 'der' })
  if (key.asymmetricKeyType === 'rsa') return { type: 'rsa', p: spki.toString('base64') }
  // RFC 8463 4.2: the 32 octets alone, which end the structure.
  return { type: 'ed25519', p: spki.subarray(-32).toString('base64') }
}

function privateKeyOf(pem: string): KeyObject | null {
  try {
    return createPrivateKey(pem)
  } catch {
    return null // The caller says which file; the parser's own words would help nobody.
  }
}
