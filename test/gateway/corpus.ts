import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The messages of ../shared/corpus with CRLF line ends and without a first mbox line; null where the corpus is absent. */
export function readCorpus(): { readonly name: string; readonly octets: Buffer }[] | null {
  const root = fileURLToPath(new URL('../../../shared/corpus/', import.meta.url))
  let folders: string[]
  try {
    folders = readdirSync(root).filter((name) => statSync(join(root, name)).isDirectory())
  } catch {
    // Absent: the caller says so.
    return null
  }
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => ({
      name: `${folder}/${name}`,
      octets: asSent(readFileSync(join(root, folder, name))),
    })),
  )
}

/** As an SMTP client would send it. */
function asSent(octets: Buffer): Buffer {
  const text = octets.toString('latin1').replace(/^From .*\r?\n/, '')
  return Buffer.from(text.replace(/\r\n|\r|\n/g, '\r\n'), 'latin1')
}
