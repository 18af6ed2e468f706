import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { consistencyProof, inclusionProof, nodesOver, verifyConsistency, verifyInclusion } from '../../audit/proof.ts'
import {
  append,
  decodeFrontier,
  emptyFrontier,
  emptyRoot,
  encodeFrontier,
  type Hash,
  leafHash,
  rootOf,
} from '../../audit/tree.ts'

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex')
const rootOver = (leaves: readonly Uint8Array[]): Hash => rootOf(append(emptyFrontier, leaves.map(leafHash)))

/** The known-answer leaves and roots of the Certificate Transparency reference implementation. */
const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const inputs = LEAVES.map((leaf) => Buffer.from(leaf, 'hex'))

/** RFC 6962 2.1, word by word. */
function naiveRoot(leaves: readonly Uint8Array[]): Buffer {
  const [first] = leaves
  if (first === undefined) return createHash('sha256').digest()
  if (leaves.length === 1) return createHash('sha256').update(Buffer.of(0)).update(first).digest()
  const k = naiveSplit(leaves.length)
  return naiveNode(naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)))
}

/** RFC 6962 2.1.1: PATH(m, D[n]). */
function naivePath(m: number, leaves: readonly Uint8Array[]): readonly Buffer[] {
  if (leaves.length <= 1) return []
  const k = naiveSplit(leaves.length)
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)]
  return m < k ? [...naivePath(m, left), naiveRoot(right)] : [...naivePath(m - k, right), naiveRoot(left)]
}

/** RFC 6962 2.1.2: SUBPROOF(m, D[n], b). */
function naiveProof(m: number, leaves: readonly Uint8Array[], b: boolean): readonly Buffer[] {
  if (m === leaves.length) return b ? [] : [naiveRoot(leaves)]
  const k = naiveSplit(leaves.length)
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)]
  return m <= k ? [...naiveProof(m, left, b), naiveRoot(right)] : [...naiveProof(m - k, right, false), naiveRoot(left)]
}

function naiveSplit(n: number): number {
  return 2 ** Math.floor(Math.log2(n - 1))
}

function naiveNode(left: Buffer, right: Buffer): Buffer {
  return createHash('sha256').update(Buffer.of(1)).update(left).update(right).digest()
}

const leafLists = fc.array(fc.uint8Array({ maxLength: 8 }), { minLength: 1, maxLength: 70 })
const listAndTwo = leafLists.chain((leaves) =>
  fc.record({
    leaves: fc.constant(leaves),
    index: fc.nat(leaves.length - 1),
    older: fc.integer({ min: 1, max: leaves.length }),
  }),
)

t.test('the roots of RFC 6962 known-answer trees come out', async (t) => {
  t.equal(hex(emptyRoot()), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  for (const [i, root] of ROOTS.entries()) t.equal(hex(rootOver(inputs.slice(0, i + 1))), root)
})

t.test('root and frontier grow leaf by leaf or in batches to what the recursive definition says', async () => {
  fc.assert(
    fc.property(leafLists, fc.nat(70), (leaves, cut) => {
      const hashes = leaves.map(leafHash)
      const batched = append(append(emptyFrontier, hashes.slice(0, cut)), hashes.slice(cut))
      const single = hashes.reduce((frontier, hash) => append(frontier, [hash]), emptyFrontier)
      return hex(rootOf(batched)) === hex(naiveRoot(leaves)) && hex(rootOf(single)) === hex(naiveRoot(leaves))
    }),
  )
})

t.test('a frontier is read back from its octets and goes on', async () => {
  fc.assert(
    fc.property(leafLists, leafLists, (before, after) => {
      const read = decodeFrontier(encodeFrontier(append(emptyFrontier, before.map(leafHash))))
      return read !== null && hex(rootOf(append(read, after.map(leafHash)))) === hex(naiveRoot([...before, ...after]))
    }),
  )
})

t.test('octets that are no frontier are refused', async (t) => {
  const octets = Buffer.from(encodeFrontier(append(emptyFrontier, inputs.map(leafHash))))
  t.equal(decodeFrontier(octets.subarray(0, -1)), null, 'cut')
  t.equal(decodeFrontier(Buffer.concat([octets, Buffer.of(0)])), null, 'too long')
  t.equal(decodeFrontier(Buffer.alloc(3)), null, 'no size')
  t.equal(decodeFrontier(Buffer.alloc(8, 0xff)), null, 'a size that is no safe integer')
})

t.test('inclusion and consistency proofs are those of the recursive definition, and verify', async () => {
  fc.assert(
    fc.property(listAndTwo, ({ leaves, index, older }) => {
      const size = leaves.length
      const nodes = nodesOver(leaves.map(leafHash))
      const leaf = leafHash(leaves[index] ?? Buffer.alloc(0))
      const path = inclusionProof(nodes, index, size)
      const proof = consistencyProof(nodes, older, size)
      const roots = [naiveRoot(leaves.slice(0, older)), naiveRoot(leaves)] as const
      return (
        path.map(hex).join() === naivePath(index, leaves).map(hex).join() &&
        proof.map(hex).join() === naiveProof(older, leaves, true).map(hex).join() &&
        verifyInclusion(path, index, size, leaf, roots[1]) &&
        verifyConsistency(proof, older, size, ...roots)
      )
    }),
  )
})

t.test('an altered, longer, shorter or misplaced proof does not verify', async () => {
  const flipped = (hash: Hash): Hash => Buffer.from(hash).map((octet, i) => (i === 0 ? octet ^ 1 : octet))
  fc.assert(
    fc.property(listAndTwo, fc.nat(), ({ leaves, index, older }, pick) => {
      const size = leaves.length
      const nodes = nodesOver(leaves.map(leafHash))
      const leaf = leafHash(leaves[index] ?? Buffer.alloc(0))
      const root = naiveRoot(leaves)
      const roots = [naiveRoot(leaves.slice(0, older)), root] as const
      const broken = (proof: readonly Hash[]): (readonly Hash[])[] => [
        [...proof, root],
        ...(proof.length === 0
          ? []
          : [proof.slice(1), proof.with(pick % proof.length, flipped(proof[pick % proof.length] ?? root))]),
      ]
      const path = inclusionProof(nodes, index, size)
      const proof = consistencyProof(nodes, older, size)
      return (
        broken(path).every((bad) => !verifyInclusion(bad, index, size, leaf, root)) &&
        broken(proof).every((bad) => !verifyConsistency(bad, older, size, ...roots)) &&
        !verifyInclusion(path, size, size, leaf, root) &&
        !verifyInclusion(path, index, size, flipped(leaf), root) &&
        !verifyConsistency(proof, older, size, flipped(roots[0]), root)
      )
    }),
  )
})
