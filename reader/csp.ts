/**
 * The Content-Security-Policy of the reader page, for the key server to send with `index.html`. `copyOrigins` are the origins of the
 * sealed-copy stores (`https://copies.acme.example`), the only ones beside its own that the page may fetch from.
 *
 * `frame-src 'none'` keeps the message's frame from being led anywhere: a srcdoc document is no navigation. That document inherits this
 * policy, so `style-src-attr` is here for the style attributes of cleaned messages; the page itself uses none, and `<style>` stays forbidden.
 */
export function contentSecurityPolicy(copyOrigins: readonly string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "style-src-attr 'unsafe-inline'",
    'img-src blob: data:',
    ['connect-src', "'self'", ...copyOrigins].join(' '),
    "frame-src 'none'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    'trusted-types dompurify sealpost',
  ].join('; ')
}

/** The headers that go with the page beside its Content-Security-Policy. */
export const pageHeaders = {
  'Content-Type': 'text/html; charset=utf-8',
  'Cache-Control': 'no-cache',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'X-DNS-Prefetch-Control': 'off',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), microphone=(), geolocation=(), payment=(), usb=()',
} as const
