/**
 * Moves the rules of a message's `<style>` elements into style attributes, so that the frame needs no style element, and keeps of all
 * declarations only those that can load nothing and leave the text where it is.
 */

const MOST_RULES = 1500
const MOST_MATCHES = 60_000
const MOST_CSS = 300_000

/** Applies `css` to the elements of `body` in the order of the rules; what an element says itself stays stronger. */
export function inlineStyles(body: HTMLElement, css: string): void {
  const own = new Map<HTMLElement, string>()
  let matches = 0
  for (const rule of readRules(css)) {
    for (const element of matching(body, rule.selectorText)) {
      if (++matches > MOST_MATCHES) return
      if (!own.has(element)) own.set(element, element.style.cssText)
      copyDeclarations(rule.style, element.style)
    }
  }
  for (const [element, text] of own) element.style.cssText += `;${text}`
}

/** Removes every declaration that could reach the network or hide what is around it. */
export function cleanStyle(style: CSSStyleDeclaration): void {
  for (const name of [...style]) {
    if (!isHarmless(name, style.getPropertyValue(name))) style.removeProperty(name)
  }
}

/** Only rules for any or for a screen; @import and @font-face load things, other at-rules are for other readers. */
function readRules(css: string): CSSStyleRule[] {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(css.slice(0, MOST_CSS))
  return [...sheet.cssRules].filter((rule) => rule instanceof CSSStyleRule).slice(0, MOST_RULES)
}

function matching(body: HTMLElement, selector: string): HTMLElement[] {
  try {
    const within = [...body.querySelectorAll(selector)].filter((element) => element instanceof HTMLElement)
    return body.matches(selector) ? [body, ...within] : within
  } catch {
    // A selector that querySelectorAll does not take, such as a pseudo-element.
    return []
  }
}

function copyDeclarations(from: CSSStyleDeclaration, to: CSSStyleDeclaration): void {
  for (const name of [...from]) {
    const value = from.getPropertyValue(name)
    if (isHarmless(name, value)) to.setProperty(name, value, from.getPropertyPriority(name))
  }
}

function isHarmless(name: string, value: string): boolean {
  if (name.startsWith('--') || /^(?:position|behavior|-moz-binding|animation|transition|content|cursor)/.test(name))
    return false
  return !/(?:url|image|image-set|src|var|attr|element|cross-fade|paint|expression)\s*\(|\\/i.test(value)
}
