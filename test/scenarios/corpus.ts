import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A message of ../shared/corpus as a client that keeps to SMTP's line ends would send it. */
export type CorpusMessage = {
  readonly name: string
  /** Every LF that stood alone is CRLF; nothing else was changed, so a first mbox line and bare CRs are still there. */
  readonly octets: Buffer
  readonly lineEndsChanged: boolean
}

const root = fileURLToPath(new URL('../../../shared/corpus/', import.meta.url))

/** All of them; null where the corpus is absent. */
export function readCorpus(): readonly CorpusMessage[] | null {
  let folders: string[]
  try {
    folders = readdirSync(root).filter((name) => statSync(join(root, name)).isDirectory())
  } catch {
    return null // the caller says that it is absent
  }
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder)).map((name): CorpusMessage => {
      const given = readFileSync(join(root, folder, name)).toString('latin1')
      const text = given.replace(/(?<!\r)\n/g, '\r\n')
      // SMTP ends a message at the end of a line.
      const whole = text.endsWith('\r\n') ? text : `${text}\r\n`
      return { name: `${folder}/${name}`, octets: Buffer.from(whole, 'latin1'), lineEndsChanged: whole !== given }
    }),
  )
}

/** Whether a CR stands alone in it (RFC 5321 2.3.8). */
export function hasBareCr(octets: Uint8Array): boolean {
  return /\r(?!\n)/.test(Buffer.from(octets).toString('latin1'))
}

/** The same with CRLF for every run of CRs that stand alone. */
export function withoutBareCr(octets: Uint8Array): Buffer {
  const text = Buffer.from(octets).toString('latin1')
  return Buffer.from(text.replace(/\r+\n/g, '\r\n').replace(/\r+(?!\n)/g, '\r\n'), 'latin1')
}

const nowhere = /^(?:bcc|resent-bcc|sealpost-[^:]*|x-ms-exchange-(?:organization|forest|crosspremises)-[^:]*)[ \t]*:/i

/** The message less the fields that must reach no recipient (DESIGN.md, "Envelope"), by reading of its own. */
export function lessPrivateFields(octets: Uint8Array): Buffer {
  const text = Buffer.from(octets).toString('latin1')
  const { header, rest } = split(text)
  const kept = fieldsOf(header).filter((field) => !nowhere.test(field))
  return Buffer.from(kept.join('') + rest, 'latin1')
}

/** Header section with its last line end, and the empty line with all behind it. */
export function split(text: string): { readonly header: string; readonly rest: string } {
  if (text.startsWith('\r\n')) return { header: '', rest: text }
  const at = text.indexOf('\r\n\r\n')
  return at === -1 ? { header: text, rest: '' } : { header: text.slice(0, at + 2), rest: text.slice(at + 2) }
}

/** Each field with its folded lines. */
export function fieldsOf(header: string): readonly string[] {
  return header === '' ? [] : header.split(/(?<=\r\n)(?![ \t])/)
}
