import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { buildReader } from '../../reader/build.ts'
import { contentSecurityPolicy } from '../../reader/csp.ts'

t.test('the page is small, whole, and loads nothing from elsewhere', async (t) => {
  const folder = t.testdir({ 'app-OLD.js': 'left by an earlier build' })
  const size = await buildReader(folder)
  t.ok(size.gzip < 80_000, `${size.gzip} octets with gzip`)
  const names = await readdir(folder)
  t.notOk(names.includes('app-OLD.js'))
  const index = await readFile(join(folder, 'index.html'), 'utf8')
  const loaded = [...index.matchAll(/(?:src|href)="\/assets\/([^"]+)"/g)].map(([, name]) => name)
  t.equal(loaded.length, 2)
  for (const name of loaded) t.ok(names.includes(`${name}`) && names.includes(`${name}.br`), `${name}`)
  t.notMatch(
    index,
    /<script(?! type="module" src="\/assets)|<style|\son\w+=|(?:src|href)="(?!\/assets\/|data:image\/svg)/,
  )
  const script = await readFile(join(folder, names.find((name) => name.endsWith('.js')) ?? ''), 'utf8')
  t.notMatch(script, /\beval\(|new Function\(|sourceMappingURL/)
})

t.test('the policy allows the copy stores to be fetched from, and nothing else from elsewhere', (t) => {
  const policy = contentSecurityPolicy(['https://copies.acme.example'])
  t.match(policy, "default-src 'none'")
  t.match(policy, "connect-src 'self' https://copies.acme.example;")
  t.notMatch(policy.replace("style-src-attr 'unsafe-inline'", ''), /unsafe|\*|https:(?!\/\/copies)/)
  t.end()
})
