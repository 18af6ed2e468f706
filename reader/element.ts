type Child = Node | string | null
type Attributes = Readonly<Record<string, string | ((event: Event) => void)>>

/**
 * An element with attributes and children. Text is set as text, never as HTML. An attribute whose value is a function listens to the event
 * of that name.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else element.setAttribute(name, value)
  }
  element.append(...children.filter((child) => child !== null))
  return element
}
