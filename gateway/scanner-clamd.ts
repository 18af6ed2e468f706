import type { Content } from './intake.ts'
import { foundName, type Scan } from './scan.ts'
import { ScannerFault, type ScannerWire } from './scanner-wire.ts'

/** An answer of clamd, octets. */
const ANSWER_LIMIT = 4096
const NUL = '\0'

/**
 * clamd(8), INSTREAM: four octets of length before each piece, a length of nothing at the end, and one answer. Who sends more than clamd's StreamMaxLength
 * is answered in the middle of it.
 */
export async function scanByClamd(wire: ScannerWire, content: Pick<Content, 'accepted'>): Promise<Scan> {
  await wire.write(Buffer.from(`zINSTREAM${NUL}`))
  try {
    for await (const piece of content.accepted()) {
      if (wire.said()) break
      if (piece.length > 0) await wire.write(Buffer.concat([lengthOf(piece.length), piece]))
    }
    if (!wire.said()) await wire.write(lengthOf(0))
  } catch (error) {
    // Its last words may have come before the connection broke.
    if (!(error instanceof ScannerFault) || !wire.said()) throw error
  }
  return verdictOf((await wire.readTo(NUL, ANSWER_LIMIT)).toString('utf8'))
}

function lengthOf(count: number): Buffer {
  const octets = Buffer.alloc(4)
  octets.writeUInt32BE(count)
  return octets
}

function verdictOf(answer: string): Scan {
  if (answer === 'stream: OK') return { verdict: 'clean', name: '' }
  const found = /^stream: ([\s\S]+) FOUND$/.exec(answer)?.[1]
  if (found !== undefined) return { verdict: 'infected', name: foundName(found) }
  if (/^INSTREAM size limit exceeded/.test(answer)) return { verdict: 'too-large', name: '' }
  throw new ScannerFault(`clamd answers: ${foundName(answer)}`)
}

/** What clamd says of itself, for people. */
export async function askClamd(wire: ScannerWire): Promise<string> {
  await wire.write(Buffer.from(`zVERSION${NUL}`))
  const answer = (await wire.readTo(NUL, ANSWER_LIMIT)).toString('utf8')
  if (answer.startsWith('ClamAV ')) return foundName(answer)
  throw new ScannerFault(`this is no clamd: it answers ${foundName(answer)}`)
}
