import { parseDocument, type YAMLParseError } from 'yaml'

/** The value of a YAML text (core schema, no aliases, no key twice), or what is wrong with it, each fault in one line. */
export function readYaml(text: string): { readonly value: unknown } | { readonly faults: readonly string[] } {
  const document = parseDocument(text, { schema: 'core', uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0) return { faults: document.errors.map(faultOf) }
  try {
    const value: unknown = document.toJS({ maxAliasCount: 0 })
    return { value }
  } catch {
    // What remains is an alias, of which a few can stand for gigabytes.
    return { faults: ['aliases (*name) are not read; write the value out'] }
  }
}

function faultOf({ code, message, linePos }: YAMLParseError): string {
  if (code === 'MULTIPLE_DOCS')
    return `a second document begins at line ${linePos?.[0].line ?? 0}; leave its line --- out`
  return message.split('\n')[0]?.replace(/:$/, '') ?? ''
}
