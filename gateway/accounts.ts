import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import type { OrgId } from '../protocol/identifiers.ts'

/** An account that may sign in, from the accounts file of a listener. */
export type Account = {
  readonly user: string
  readonly org: OrgId
  /** `scrypt$<N>$<r>$<p>$<salt>$<hash>`, the last two base64url: see {@link hashPassword}. */
  readonly hash: string
}

/** Who has signed in, and for which organization they send. */
export type SignedIn = Pick<Account, 'user' | 'org'>

export type Accounts = {
  /**
   * Who it is, or null: an unknown user costs as much time as a wrong password. Rejects with a GatewayError where that cannot be found out now.
   */
  verify(user: string, password: string): Promise<SignedIn | null>
}

const COST = { N: 16_384, r: 8, p: 1 } as const
const HASH = /^scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([\w-]{16,64})\$([\w-]{43})$/

/** The hash to write into the accounts file. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, COST)
  return `scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString('base64url')}$${hash.toString('base64url')}`
}

/** Whether `text` can be checked against. */
export function isPasswordHash(text: string): boolean {
  return readHash(text) !== null
}

/**
 * At most four passwords are checked at once, the others wait: each costs 16 MiB and a thread. Users who are not in `accounts` are left to
 * `others`, where there are any.
 */
export function createAccounts(accounts: readonly Account[], others: Accounts | null = null): Accounts {
  const byUser = new Map(accounts.map((account) => [account.user, account]))
  const decoy = `scrypt$${COST.N}$${COST.r}$${COST.p}$${'A'.repeat(22)}$${'A'.repeat(43)}`
  const waiting: (() => void)[] = []
  let running = 0

  async function check(password: string, hash: string): Promise<boolean> {
    if (running >= 4) await new Promise<void>((resolve) => waiting.push(resolve))
    running += 1
    try {
      return await matches(password, hash)
    } finally {
      running -= 1
      waiting.shift()?.()
    }
  }

  return {
    async verify(user, password) {
      const account = byUser.get(user)
      if (account === undefined && others !== null) return others.verify(user, password)
      const right = await check(password, account?.hash ?? decoy)
      return account !== undefined && right ? account : null
    },
  }
}

async function matches(password: string, text: string): Promise<boolean> {
  const parsed = readHash(text)
  if (parsed === null) return false
  return timingSafeEqual(await derive(password, parsed.salt, parsed.cost), parsed.hash)
}

function readHash(text: string): { cost: ScryptOptions; salt: Buffer; hash: Buffer } | null {
  const [, N, r, p, salt, hash] = HASH.exec(text) ?? []
  if (salt === undefined || hash === undefined) return null
  const cost = { N: Number(N), r: Number(r), p: Number(p) }
  // scrypt wants a power of two, and its memory is 128 * N * r octets.
  if (cost.N < 2 || (cost.N & (cost.N - 1)) !== 0 || cost.r < 1 || cost.p < 1 || cost.N * cost.r > 2 ** 20) return null
  return { cost, salt: Buffer.from(salt, 'base64url'), hash: Buffer.from(hash, 'base64url') }
}

function derive(password: string, salt: Uint8Array, cost: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, 32, { ...cost, maxmem: 256 * 1024 * 1024 }, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
}
