import { type Address, domainOf, parseAddress } from '../protocol/identifiers.ts'

/** The groups of a policy file: by name, addresses and whole domains, both in comparable form. */
export type Groups = ReadonlyMap<string, ReadonlySet<string>>

/** An address or a domain of a group, as addresses and domains are compared; null if it is neither. */
export function memberOf(text: string): string | null {
  if (text.includes('@')) return parseAddress(text)
  const address = parseAddress(`x@${text}`)
  return address === null ? null : domainOf(address)
}

/** The names of the groups that an address is in, itself or by its domain; a subdomain only if it is listed. None for ''. */
export function groupsOf(groups: Groups, address: string): string[] {
  if (address === '') return []
  const domain = domainOf(address as Address)
  return [...groups].filter(([, members]) => members.has(address) || members.has(domain)).map(([name]) => name)
}
