/**
 * Import this before `@peculiar/x509`: the container inside that package (tsyringe) refuses to load without metadata on `Reflect`, and
 * asks for no more than these three functions. Whoever has defined them already is left alone.
 */

type Metadata = {
  getOwnMetadata?: (key: unknown, target: object) => unknown
  getMetadata?: (key: unknown, target: object) => unknown
  defineMetadata?: (key: unknown, value: unknown, target: object) => void
}

const reflect = Reflect as Metadata

if (reflect.getMetadata === undefined) {
  const kept = new WeakMap<object, Map<unknown, unknown>>()
  const own = (key: unknown, target: object) => kept.get(target)?.get(key)
  const inherited = (key: unknown, target: object): unknown => {
    if (kept.get(target)?.has(key)) return own(key, target)
    const parent = Reflect.getPrototypeOf(target)
    return parent === null ? undefined : inherited(key, parent)
  }
  reflect.getOwnMetadata = own
  reflect.getMetadata = inherited
  reflect.defineMetadata = (key, value, target) => {
    const values = kept.get(target) ?? new Map<unknown, unknown>()
    kept.set(target, values.set(key, value))
  }
}
