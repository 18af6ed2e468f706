type Policy = { createHTML(html: string): string }
type Factory = { createPolicy(name: string, rules: { createHTML: (html: string) => string }): Policy }

/**
 * The one policy by which this page hands HTML to the browser (Trusted Types): to the message's sandboxed frame. Nothing else in the page can, as the Content-Security-Policy allows no other policy but DOMPurify's.
 */
export function createTrusted(): Policy {
  const factory = (globalThis as { readonly trustedTypes?: Factory }).trustedTypes
  const rules = { createHTML: (html: string) => html }
  return factory === undefined ? rules : factory.createPolicy('sealpost', rules)
}

export type { Policy as Trusted }
