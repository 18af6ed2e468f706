import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Figure, ratioOf } from './figure.ts'
import { machineInWords } from './machine.ts'
import { readResults } from './results.ts'

/** `node bench/plot.ts <results.jsonl>`: draws the last run's rates beside Postfix's into an SVG of the same name. */

const WIDTH = 760
const LEFT = 220
const RIGHT = 130
const BAR = 16
const GROUP = 54
const TOP = 64

/** Colours that hold on white and on black. */
const STYLE = [
  'text{font:13px system-ui,sans-serif;fill:#1b1f1e}.small{font-size:11px;fill:#5c6664}',
  '.ours{fill:#0b7a5e}.postfix{fill:#9aa5a3}.line{stroke:#c9d0ce}',
  '@media(prefers-color-scheme:dark){text{fill:#e8ecea}.small{fill:#a9b3b0}.ours{fill:#3fc19c}.postfix{fill:#6c7775}.line{stroke:#444d4b}}',
].join('')

/**
 * Bars of those figures that Postfix was measured for, each pair in parts of Postfix's bar: rates of ten and of a thousand a second fit one
 * drawing. `caption` says machine and date.
 */
export function plot(figures: readonly Figure[], caption: string): string {
  const pairs = figures.filter((figure) => ratioOf(figure) !== null)
  const longest = Math.max(1, ...pairs.map((figure) => ratioOf(figure) ?? 0))
  const unit = (WIDTH - LEFT - RIGHT) / longest
  const height = TOP + pairs.length * GROUP + 24
  const atOne = LEFT + unit
  const groups = pairs.map((figure, index) => group(figure, TOP + index * GROUP, unit))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title">`,
    `<title id="title">Messages per second, sealed and delivered, in parts of what Postfix delivers</title><style>${STYLE}</style>`,
    '<text x="16" y="24">Delivered messages per second: Sealpost, sealing; Postfix, relaying the same mail untouched</text>',
    `<text x="16" y="42" class="small">${quoted(caption)}</text>`,
    `<line class="line" x1="${atOne}" x2="${atOne}" y1="${TOP - 8}" y2="${height - 24}"/>`,
    ...groups,
    '</svg>\n',
  ].join('\n')
}

function group(figure: Figure, y: number, unit: number): string {
  const ratio = ratioOf(figure) ?? 0
  const bar = (kind: string, at: number, length: number, words: string) =>
    `<rect class="${kind}" x="${LEFT}" y="${at}" width="${(length * unit).toFixed(1)}" height="${BAR}" rx="2"/>` +
    `<text class="small" x="${(LEFT + length * unit + 6).toFixed(1)}" y="${at + 12}">${quoted(words)}</text>`
  const rate = (value: number) => `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))}${figure.unit}`
  return [
    `<text x="16" y="${y + 20}">${quoted(figure.name)}</text>`,
    bar('ours', y, ratio, `${rate(figure.ours)}, ${ratio.toFixed(2)} of Postfix`),
    bar('postfix', y + BAR + 2, 1, rate(figure.postfix ?? 0)),
  ].join('\n')
}

function quoted(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file = ''] = process.argv
  if (!file.endsWith('.jsonl')) throw new Error('say which results: node bench/plot.ts bench/results/<date>.jsonl')
  const { head, figures } = readResults(file)
  const target = file.replace(/\.jsonl$/, '.svg')
  writeFileSync(target, plot(figures, `${head.at.slice(0, 10)}, ${machineInWords(head)}`))
  process.stdout.write(`${target}\n`)
}
