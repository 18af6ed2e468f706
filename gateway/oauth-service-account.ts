import { createPrivateKey } from 'node:crypto'
import { createTokenSource, type TokenSource } from './oauth-token.ts'

/** What a Google service account's key file says of it. */
export type ServiceAccount = {
  readonly email: string
  readonly keyId: string
  /** PKCS #8, PEM. */
  readonly privateKey: string
}

export type ServiceAccountOptions = ServiceAccount & {
  readonly tokenUrl: string
  readonly scopes: readonly string[]
}

const LIFETIME = '1h'

/** Tokens of a service account that acts for a mailbox by domain-wide delegation: a JWT signed RS256 is the grant (RFC 7523). */
export function createServiceAccountTokens(options: ServiceAccountOptions): TokenSource {
  const { email, keyId, privateKey, tokenUrl, scopes } = options
  const key = createPrivateKey(privateKey)
  return createTokenSource({
    url: tokenUrl,
    per: 'mailbox',
    async form(mailbox) {
      // Only who has such an account pays for loading it.
      const { SignJWT } = await import('jose')
      const assertion = await new SignJWT({ scope: scopes.join(' ') })
        .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: keyId })
        .setIssuer(email)
        .setSubject(mailbox)
        .setAudience(tokenUrl)
        .setIssuedAt()
        .setExpirationTime(LIFETIME)
        .sign(key)
      return { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }
    },
  })
}

/** Reads the JSON of a key file as Google's console gives it; null if it is not one. */
export function readServiceAccount(text: string): (ServiceAccount & { readonly tokenUrl: string }) | null {
  let file: Record<string, unknown>
  try {
    file = Object(JSON.parse(text))
  } catch {
    return null
  }
  const { client_email: email, private_key_id: keyId, private_key: privateKey, token_uri: tokenUrl } = file
  if (typeof email !== 'string' || typeof keyId !== 'string' || typeof privateKey !== 'string') return null
  const url = tokenUrl ?? DEFAULT_TOKEN_URL
  if (!isRsaKey(privateKey) || typeof url !== 'string' || !URL.canParse(url)) return null
  return { email, keyId, privateKey, tokenUrl: url }
}

function isRsaKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    // Whatever is wrong with it, it is no key; the text of the error may hold parts of it.
    return false
  }
}

const DEFAULT_TOKEN_URL = 'https://oauth2.googleapis.com/token'
