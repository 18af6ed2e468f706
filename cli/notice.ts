import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createComposer } from '../gateway/compose.ts'
import { createEgress } from '../gateway/egress.ts'
import { loadNoticeTemplates } from '../gateway/notice-template.ts'
import {
  defaultNotice,
  isNoticeLanguage,
  loadPolicy,
  type NoticeChoice,
  noticeLanguages,
  type Policy,
} from '../rulebook/index.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'
import { sampleNoticeParts } from './sample-notice.ts'

type Wanted = { readonly rule?: string; readonly language?: string; readonly notice?: string }

/**
 * `sealpost notice preview`: what the recipient of a sealed mail sees before it is opened, as files: text, HTML and the whole mail. Filled with
 * sample values by the gateway's own code, and looked at as the gateway looks at what leaves. Without --out the text is printed.
 */
export async function notice(argv: readonly string[], io: Io): Promise<number> {
  const [action, ...args] = argv
  if (action !== 'preview') throw new UsageError(`notice: say preview, not ${action ?? 'nothing'}`)
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ policy: { type: 'string' }, org: { type: 'string' }, rule: { type: 'string' } },
      ...{ language: { type: 'string' }, notice: { type: 'string' }, name: { type: 'string' } },
      ...{ link: { type: 'boolean', default: false }, out: { type: 'string' } },
    },
  })
  const file = values.policy ?? (values.org === undefined ? null : join('policies', `${values.org}.yaml`))
  const policy = file === null ? null : await policyIn(file)
  const { choice, ttlSeconds } = chosen(policy, values)
  const parts = sampleNoticeParts({
    org: policy?.org ?? null,
    organization: values.name ?? null,
    ...{ ttlSeconds, choice, attached: !values.link },
  })
  const templates = await loadNoticeTemplates()
  const egress = createEgress({ templates, alarm: (violation) => io.err(violation.message) })
  const composed = createComposer(templates)
  const { text, html } = composed.notice(parts)
  const chunks: Uint8Array[] = []
  for await (const chunk of egress.sealed(composed.sealed(parts), parts).open()) chunks.push(chunk)
  if (values.out === undefined) {
    io.out(text.replaceAll('\r\n', '\n'))
    return exits.ok
  }
  await mkdir(values.out, { recursive: true })
  const write = async (name: string, content: string | Uint8Array, todo: string) => {
    const path = join(values.out ?? '', name)
    await writeFile(path, content)
    io.out(`${path}  ${todo}`)
  }
  io.out(`The notice ${choice.name}, with sample values:`)
  await write('notice.html', html, 'open it in a browser')
  await write('notice.txt', text, 'what programs without HTML show')
  await write(
    'notice.eml',
    Buffer.concat(chunks),
    'open it in a mail program; its link and its attachment lead nowhere',
  )
  return exits.ok
}

function chosen(policy: Policy | null, wanted: Wanted): { readonly choice: NoticeChoice; readonly ttlSeconds: number } {
  const ttl = policy?.ttl.defaultSeconds ?? 30 * 86_400
  const given = [wanted.rule, wanted.language, wanted.notice].filter((option) => option !== undefined)
  if (given.length > 1) throw new UsageError('notice preview: only one of --rule, --language and --notice')
  if (wanted.language !== undefined) return { choice: inLanguages(wanted.language), ttlSeconds: ttl }
  if (wanted.notice === undefined && wanted.rule === undefined) {
    return { choice: policy?.sealing.notice ?? defaultNotice, ttlSeconds: ttl }
  }
  const option = wanted.rule === undefined ? '--notice' : '--rule'
  if (policy === null) throw new UsageError(`notice preview: ${option} needs --policy FILE`)
  if (wanted.notice !== undefined) return { choice: ownOf(policy, wanted.notice), ttlSeconds: ttl }
  const rules = policy.outbound.filter((rule) => 'notice' in rule)
  const rule = rules.find(({ name }) => name === wanted.rule)
  if (rule === undefined) {
    const names = rules.map(({ name }) => name)
    throw new Failure(
      `no rule '${wanted.rule}' seals; those that do: ${names.length === 0 ? 'none' : names.join(', ')}`,
    )
  }
  return { choice: rule.notice ?? policy.sealing.notice, ttlSeconds: rule.ttlSeconds ?? ttl }
}

function inLanguages(list: string): NoticeChoice {
  const names = list.split(',').map((name) => name.trim())
  const [first, ...others] = names.filter(isNoticeLanguage)
  if (first === undefined || others.length + 1 !== names.length) {
    throw new UsageError(`notice preview: --language takes ${noticeLanguages.join(', ')}, or several as in de,en`)
  }
  return { name: names.join(', '), languages: [first, ...others], own: null }
}

function ownOf(policy: Policy, name: string): NoticeChoice {
  const choice = policy.notices.get(name)
  if (choice !== undefined) return choice
  const names = [...policy.notices.keys()]
  throw new Failure(
    `no notice '${name}' stands under notices:; there are: ${names.length === 0 ? 'none' : names.join(', ')}`,
  )
}

async function policyIn(file: string): Promise<Policy> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new Failure(`${file}: cannot be read`, exits.usage)
  })
  const loaded = loadPolicy(text, file)
  if (loaded.kind === 'policy') return loaded.policy
  const faults = loaded.faults.map(
    ({ line, column, message, hint }) => `${file}:${line}:${column} ${message}\n    ${hint}`,
  )
  throw new Failure(faults.join('\n'), exits.config)
}
