import { randomBytes } from 'node:crypto'
import { AlgorithmSuiteIdentifier, buildClient, CommitmentPolicy } from '@aws-crypto/client-node'
import fc from 'fast-check'
import t from 'tap'
import { open } from '../../envelope/reader.ts'
import { FRAME_LENGTH, type SealOptions, seal, sealWhole } from '../../envelope/writer.ts'
import { createOneKeyring } from './keyring.ts'
import { collect, freshOptions, inPieces, openOrFault, sealed } from './material.ts'

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

t.test('what goes in comes out, whatever its size, its pieces, its frames and its encoding', async (t) => {
  const nearFrames = fc.tuple(fc.nat(4), fc.integer({ min: -2, max: 2 }))
  await fc.assert(
    fc.asyncProperty(
      nearFrames,
      fc.constantFrom(16, 100, 4096),
      fc.integer({ min: 1, max: 5000 }),
      fc.constantFrom('identity' as const, 'deflate' as const),
      async ([frames, offset], frameLength, pieceSize, encoding) => {
        const message = randomBytes(Math.max(0, frames * frameLength + offset))
        const options = { ...freshOptions(encoding), frameLength }
        const octets = await sealed(message, options, pieceSize)
        const { message: back } = await open(inPieces(octets, pieceSize), {
          unlock: () => ({ dataKey: options.dataKey, plainSize: message.length }),
        })
        return message.equals(back)
      },
    ),
    { numRuns: 150 },
  )
  t.pass('150 messages')
})

t.test('sizes around the default frame length come out whole', async (t) => {
  for (const encoding of ['identity', 'deflate'] as const) {
    for (const size of [0, 1, FRAME_LENGTH - 1, FRAME_LENGTH, FRAME_LENGTH + 1, 3 * FRAME_LENGTH]) {
      const message = randomBytes(size)
      const options = freshOptions(encoding)
      const back = await openOrFault(await sealed(message, options), options, size)
      t.ok(typeof back === 'object' && message.equals(back), `${encoding}, ${size}`)
    }
  }
})

t.test('the Encryption SDK decrypts what the writer wrote, and sees our context', async (t) => {
  for (const size of [0, 1000, 700_000]) {
    const message = randomBytes(size)
    const options = freshOptions()
    const { plaintext, messageHeader } = await decrypt(createOneKeyring(options), await sealed(message, options))
    t.ok(message.equals(plaintext), `${size} octets`)
    t.same(messageHeader.encryptionContext, { ...options.context, 'sealpost-version': '1' })
    t.equal(messageHeader.suiteId, AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY)
  }
})

t.test('the reader opens what the Encryption SDK wrote', async (t) => {
  const options = freshOptions()
  const message = randomBytes(9000)
  const { result } = await encrypt(createOneKeyring(options), message, {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: { ...options.context, 'sealpost-version': '1' },
    frameLength: 4096,
  })
  t.same(await openOrFault(result, options, message.length), new Uint8Array(message))
})

t.test("the caller's keys are left as they are", async (t) => {
  const options = freshOptions()
  const before = { dataKey: Buffer.from(options.dataKey), wrappedKey: Buffer.from(options.wrappedKey) }
  await sealed(randomBytes(FRAME_LENGTH * 2), options)
  t.ok(before.dataKey.equals(options.dataKey))
  t.ok(before.wrappedKey.equals(options.wrappedKey))
})

t.test('two sealings of one message with one key share no octet pattern', async (t) => {
  const options = freshOptions()
  const [a, b] = [sealWhole(Buffer.alloc(64), options), sealWhole(Buffer.alloc(64), options)]
  t.notOk(Buffer.from(a).subarray(-80).equals(Buffer.from(b).subarray(-80)))
})

t.test('memory stays bounded while 400 MB are sealed', async (t) => {
  const piece = randomBytes(65_536)
  async function* long() {
    for (let i = 0; i < 6400; i++) yield piece
  }
  let peak = 0
  let size = 0
  for await (const octets of seal(long(), freshOptions())) {
    size += octets.length
    peak = Math.max(peak, process.memoryUsage().arrayBuffers)
  }
  t.ok(size >= 400 * 1024 * 1024)
  t.ok(peak < 150 * 1024 * 1024, `peak of buffers: ${(peak / 1024 / 1024).toFixed(1)} MiB`)
})

t.test('an error of the source is the error of the sealing, early or late', async (t) => {
  for (const encoding of ['identity', 'deflate'] as const) {
    for (const pieces of [0, 1, 40]) {
      async function* failing() {
        for (let i = 0; i < pieces; i++) yield randomBytes(65_536)
        throw new Error('the client went away')
      }
      const consume = collect(seal(failing(), freshOptions(encoding)))
      await t.rejects(consume, { message: 'the client went away' }, `${encoding}, after ${pieces} pieces`)
    }
  }
})

t.test('a reader that stops early ends the source too', async (t) => {
  let ended = false
  async function* source() {
    try {
      for (;;) yield randomBytes(65_536)
    } finally {
      ended = true
    }
  }
  for await (const _ of seal(source(), freshOptions())) break
  t.equal(ended, true)
})

t.test('values outside their language are not sealed', async (t) => {
  const good = freshOptions()
  const bad: SealOptions[] = [
    { ...good, dataKey: randomBytes(16) },
    { ...good, wrappedKey: randomBytes(59) },
    { ...good, context: { ...good.context, org: 'Acme Inc.' } },
    { ...good, context: { ...good.context, envelope: '../../etc' } },
    { ...good, context: { ...good.context, terms: '' } },
  ]
  for (const options of bad) t.throws(() => sealWhole(Buffer.from('x'), options), { code: 'bad-request' })
})
