import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/**
 * Builds the reader page into `reader/dist/`: `index.html`, and the script and style sheet under names that hold a hash of their
 * content, to be served as `/assets/<name>` and cached for ever. Run by npm's `prepare`.
 */

const here = new URL('.', import.meta.url).pathname
const dist = `${here}dist/`

await rm(dist, { recursive: true, force: true })
await mkdir(dist)
const { metafile } = await build({
  entryPoints: { app: `${here}main.ts`, style: `${here}app.css` },
  outdir: dist,
  entryNames: '[name]-[hash]',
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['chrome114', 'firefox121', 'safari17.4'],
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
})
const names = Object.keys(metafile.outputs).map((path) => basename(path))
const named = (kind: string): string => names.find((name) => name.endsWith(kind)) ?? ''
const template = await readFile(`${here}index.html`, 'utf8')
await writeFile(`${dist}index.html`, template.replace('app.js', named('.js')).replace('app.css', named('.css')))

let gzip = 0
let brotli = 0
for (const name of ['index.html', named('.js'), named('.css')]) {
  const content = await readFile(dist + name)
  gzip += gzipSync(content, { level: 9 }).length
  brotli += brotliCompressSync(content).length
}
console.log(`reader/dist: ${(gzip / 1000).toFixed(1)} KB with gzip, ${(brotli / 1000).toFixed(1)} KB with brotli`)
