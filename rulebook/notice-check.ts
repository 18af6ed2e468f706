import { clipped, type Tree, treeAt } from './document.ts'
import type { Spot } from './fault.ts'
import { nearest } from './nearest.ts'
import { isNoticeLanguage, noticeLanguages, noticeNames } from './notice.ts'
import { htmlFaults } from './notice-html.ts'
import { textFaults } from './notice-text.ts'
import { placesIn } from './place.ts'
import type { PolicyFile } from './shape.ts'

type Path = readonly (string | number)[]

/** What is wrong with the notices of a file that fits its schema: the organization's own, and where one is chosen. */
export function noticeFaults(file: PolicyFile, tree: Tree, text: string): Spot[] {
  return [...ownFaults(file, tree, text), ...choiceFaults(file, tree)]
}

function* ownFaults(file: PolicyFile, tree: Tree, text: string): Generator<Spot> {
  for (const [name, notice] of Object.entries(file.notices ?? {})) {
    if (isNoticeLanguage(name)) {
      const offset = keyOffsetOf(tree, ['notices', name])
      yield { offset, message: `'${name}' is the name of a built-in notice`, hint: 'give it another name' }
    }
    const parts = [
      ['text', textFaults(notice.text)],
      ['html', htmlFaults(notice.html)],
    ] as const
    for (const [part, spots] of parts) {
      const leaf = treeAt(tree, ['notices', name, part])
      const place = leaf.kind === 'leaf' ? placesIn(leaf.node, text) : () => leaf.offset
      for (const spot of spots) yield { ...spot, offset: place(spot.offset) }
    }
  }
}

function* choiceFaults(file: PolicyFile, tree: Tree): Generator<Spot> {
  const own = Object.keys(file.notices ?? {})
  const chosen: [Path, string | readonly string[] | undefined][] = [
    [['sealing', 'notice'], file.sealing?.notice],
    ...file.outbound.map(({ notice }, index): [Path, typeof notice] => [['outbound', index, 'notice'], notice]),
    ...file.tests.outbound.map(({ notice }, index): [Path, typeof notice] => [
      ['tests', 'outbound', index, 'notice'],
      notice,
    ]),
  ]
  for (const [path, written] of chosen) {
    if (written === undefined) continue
    const { offset } = treeAt(tree, path.map(String))
    const fault = choiceFault(noticeNames(written), own)
    if (fault !== null) yield { offset, ...fault }
  }
}

function choiceFault(names: readonly string[], own: readonly string[]): Omit<Spot, 'offset'> | null {
  const known = [...noticeLanguages, ...own]
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    const close = nearest(unknown, known)
    return {
      message: `there is no notice '${clipped(unknown)}'`,
      hint:
        close !== null && unknown.length > 2
          ? `write '${close}'`
          : `known: ${known.join(', ')}; others stand under notices:`,
    }
  }
  const alone = names.find((name) => own.includes(name))
  if (alone !== undefined && names.length > 1) {
    const hint = `write notice: ${alone}, and all languages into that notice`
    return { message: `the organization's own notice '${alone}' stands with others`, hint }
  }
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  return twice === undefined ? null : { message: `'${twice}' stands twice`, hint: 'remove one' }
}

function keyOffsetOf(tree: Tree, path: readonly string[]): number {
  const above = treeAt(tree, path.slice(0, -1))
  return above.kind === 'map' ? (above.entries.get(path.at(-1) ?? '')?.keyOffset ?? above.offset) : above.offset
}
