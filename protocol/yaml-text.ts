import { parseDocument } from 'yaml'

/** The value of a YAML text (core schema, no aliases, no key twice), or what is wrong with it, each fault in one line. */
export function readYaml(text: string): { readonly value: unknown } | { readonly faults: readonly string[] } {
  const document = parseDocument(text, { schema: 'core', uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0) return { faults: document.errors.map(({ message }) => message.split('\n')[0] ?? '') }
  try {
    const value: unknown = document.toJS({ maxAliasCount: 0 })
    return { value }
  } catch {
    // What remains is an alias, of which a few can stand for gigabytes.
    return { faults: ['aliases (*name) are not read; write the value out'] }
  }
}
