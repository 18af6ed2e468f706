import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Octets of all that a first visit loads. */
export type PageSize = { readonly gzip: number; readonly brotli: number }

/**
 * Builds the page into `folder`: `index.html`, and the script and the style sheet, to be served as `/assets/<name>`, under names that hold a
 * hash of their content. Each also lies there compressed, as `.gz` and `.br`. What an earlier build left is removed last, so that a
 * server may go on serving meanwhile.
 */
export async function buildReader(folder: string): Promise<PageSize> {
  await mkdir(folder, { recursive: true })
  const { outputFiles } = await build({
    entryPoints: { app: join(here, 'main.ts'), style: join(here, 'app.css') },
    outdir: folder,
    entryNames: '[name]-[hash]',
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['chrome119', 'firefox121', 'safari17.4'],
    legalComments: 'none',
    logLevel: 'warning',
  })
  const files = new Map(outputFiles.map(({ path, contents }) => [basename(path), contents]))
  const named = (kind: string): string => [...files.keys()].find((name) => name.endsWith(kind)) ?? ''
  const template = await readFile(join(here, 'index.html'), 'utf8')
  const index = template.replace('app.js', named('.js')).replace('app.css', named('.css'))
  return writeAll(folder, files.set('index.html', Buffer.from(index)))
}

async function writeAll(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<PageSize> {
  const size = { gzip: 0, brotli: 0 }
  const fresh = new Set<string>()
  const write = async (name: string, content: Uint8Array) => {
    fresh.add(name)
    await writeFile(join(folder, name), content)
  }
  for (const [name, content] of files) {
    const [gzip, brotli] = [gzipSync(content, { level: 9 }), brotliCompressSync(content)]
    size.gzip += gzip.length
    size.brotli += brotli.length
    await write(`${name}.gz`, gzip)
    await write(`${name}.br`, brotli)
    await write(name, content)
  }
  for (const name of await readdir(folder)) if (!fresh.has(name)) await rm(join(folder, name), { recursive: true })
  return size
}

if (import.meta.main) {
  const { gzip, brotli } = await buildReader(join(here, 'dist'))
  console.log(`reader/dist: ${(gzip / 1000).toFixed(1)} KB with gzip, ${(brotli / 1000).toFixed(1)} KB with brotli`)
}
