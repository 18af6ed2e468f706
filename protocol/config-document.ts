import { readFileSync } from 'node:fs'
import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv, type ErrorObject } from 'ajv'
import { readYaml } from './yaml-text.ts'

/** Everything that is wrong with a configuration; each fault is a sentence that names its place and what is expected. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.faults = faults
  }
}

/**
 * The content of the YAML file at `path`, which has the form of `schema`. Throws a {@link ConfigError} with all faults of form at once, each
 * with the path before it; a schema's `description` says what is expected. `sample` is named to whoever has no such file.
 */
export function readConfigDocument<T extends TSchema>(path: string, schema: T, sample: string): Static<T> {
  const read = readYaml(readText(path, sample))
  if ('faults' in read) throw new ConfigError(read.faults.map((fault) => `${path}: ${fault}`))
  const { value } = read
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ConfigError([`${path}: holds no options, each as "name: value"; ${sample} is one to start from`])
  }
  const validate = new Ajv({ allErrors: true, strict: false, verbose: true }).compile<Static<T>>(schema)
  if (validate(value)) return value
  const errors = validate.errors ?? []
  // A choice says what is expected only where none of its branches has something to say of its inside.
  const told = errors.filter(({ keyword, instancePath }) => {
    return keyword !== 'anyOf' || !errors.some((other) => isInside(other, instancePath))
  })
  const faults = told.flatMap((error) => faultOf(error))
  throw new ConfigError([...new Set(faults)].map((fault) => `${path}: ${fault}`))
}

function readText(path: string, sample: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    const why = missing ? 'there is no such file' : 'it cannot be read'
    throw new ConfigError([`${path}: ${why}; name a configuration file (${sample} is one to start from)`])
  }
}

function isInside({ keyword, instancePath }: ErrorObject, path: string): boolean {
  return instancePath.startsWith(`${path}/`) || (instancePath === path && keyword === 'additionalProperties')
}

function faultOf(error: ErrorObject): readonly string[] {
  const place = error.instancePath.slice(1).replaceAll('~1', '/').split('/').filter(Boolean).join(' > ') || 'the file'
  const expected = (error.parentSchema as { readonly description?: string } | undefined)?.description
  switch (error.keyword) {
    case 'required':
      return [`${place}: ${String(error.params.missingProperty)} is missing`]
    case 'additionalProperties':
      return [
        `${place}: ${String(error.params.additionalProperty)} is not known here${expected ? `; expected ${expected}` : ''}`,
      ]
    case 'const':
      // One branch of a choice; the choice itself says what is expected.
      return []
    default:
      return [`${place}: expected ${expected ?? error.message ?? error.keyword}`]
  }
}
