import type { Compilable, CompiledQuery } from 'kysely'

/** Runs a compiled query with these parameters on one connection; its rows, none where it gives none. Equal queries are one object. */
export type Run = <R>(query: CompiledQuery<R>, parameters: readonly unknown[]) => Promise<readonly R[]>

/** A query that was compiled once; give it its arguments each time. */
export type Statement<A, R> = (run: Run, args: A) => Promise<readonly R[]>

class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/**
 * Compiles a query now, for many runs later: building and compiling is what costs in a query builder. `build` puts `slot('name')`
 * wherever an argument goes.
 */
export function statement<A extends object, R>(
  build: (slot: <K extends keyof A & string>(name: K) => A[K]) => Compilable<R>,
): Statement<A, R> {
  // A slot passes through the builder as an opaque parameter value, so it may claim the argument's type until it is replaced below.
  const compiled: CompiledQuery<R> = build(
    <K extends keyof A & string>(name: K) => new Slot(name) as unknown as A[K],
  ).compile()
  const places = compiled.parameters
  return (run, args) => {
    const given = args as Readonly<Record<string, unknown>>
    const parameters = places.map((place) => (place instanceof Slot ? given[place.name] : place))
    return run(compiled, parameters)
  }
}
