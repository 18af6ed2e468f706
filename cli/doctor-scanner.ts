import type { Config, OrganizationConfig } from '../gateway/config.ts'
import { askScanner, type ScannerOptions } from '../gateway/scanner.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'

/** Asks each scanner what it is; one that several organizations share, once. No message is shown to it. */
export async function scannerFindings({ organizations, limits }: Config): Promise<Finding[]> {
  const shared = new Map<string, { readonly scanner: ScannerOptions | null; readonly ids: string[] }>()
  for (const { id, scanner } of organizations) {
    const key = JSON.stringify(scanner)
    const known = shared.get(key)
    if (known === undefined) shared.set(key, { scanner, ids: [id] })
    else known.ids.push(id)
  }
  const each = [...shared.values()].map(({ scanner, ids }) => findingsOf(scanner, ids.join(', '), limits))
  return (await Promise.all(each)).flat()
}

async function findingsOf(
  scanner: OrganizationConfig['scanner'],
  ids: string,
  limits: Config['limits'],
): Promise<Finding[]> {
  if (scanner === null) return []
  const { place, timeoutMs, maxSize } = scanner
  const where = place.kind === 'socket' ? place.path : `${place.host}:${place.port}`
  const found: Finding[] = []
  try {
    found.push(ok('scanner', `${ids}: ${where} answers: ${await askScanner(scanner)}`))
  } catch (error) {
    const todo = 'start it, or correct scanner; until then all mail gets 451'
    found.push(broken('scanner', `${ids}: ${where}: ${reasonOf(error)}`, todo))
  }
  if (timeoutMs >= limits.budgetMs) {
    const todo = 'set scanner > timeoutSeconds to less than limits > budgetSeconds'
    found.push(look('scanner', `${ids}: the scanner may take as long as the whole delivery`, todo))
  }
  if (maxSize < limits.size) {
    const what = `${ids}: mail of more than ${maxSize} octets is refused as too large for the scanner, ${limits.size} are announced`
    const todo =
      'raise scanner > maxSize together with the limits of the scanner itself, lower limits > size, or let a rule ask for it'
    found.push(look('scanner', what, todo))
  }
  return found
}
