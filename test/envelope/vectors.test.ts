import { constants, createDecipheriv, privateDecrypt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { EnvelopeError } from '../../envelope/fault.ts'
import type { EncryptedDataKey, Header } from '../../envelope/header.ts'
import { open, type Profile } from '../../envelope/reader.ts'
import { inPieces } from './material.ts'
import { readZip } from './zip.ts'

const FOLDER = fileURLToPath(new URL('../../../shared/vectors/', import.meta.url))

type Keys = { keys: Record<string, { material?: string; encoding?: string; 'key-id': string }> }
type MasterKey = { type: string; key: string; 'padding-hash'?: string }
type Case = {
  ciphertext: string
  'master-keys': MasterKey[]
  cmm: string
  result: { output: { plaintext: string } }
}

/** The vectors have up to two keys of other providers, small frames and contexts of their own. */
const vectorProfile: Profile = {
  limits: { header: 8192, encryptedDataKeys: 2, frameLength: 1024 * 1024 },
  encodingOf: () => 'identity',
}

function loadVectors(name: string) {
  const files = readZip(FOLDER + name)
  const file = (uri: string): Buffer => {
    const octets = files.get(uri.replace('file://', ''))
    if (octets === undefined) throw new Error(`${uri} is missing in ${name}`)
    return octets
  }
  const { tests } = JSON.parse(file('manifest.json').toString()) as { tests: Record<string, Case> }
  const { keys } = JSON.parse(file('keys.json').toString()) as Keys
  return { file, keys, cases: Object.entries(tests) }
}

/** Unwraps a data key as the SDK's raw keyrings wrap it: AES with the serialized context as AAD, or RSA-OAEP. */
function unwrap(header: Header, masterKey: MasterKey, keys: Keys['keys']): Buffer {
  const { material = '', encoding } = keys[masterKey.key] ?? {}
  const [first] = header.encryptedDataKeys
  if (first === undefined) throw new Error('no encrypted data key')
  if (encoding === 'pem') {
    const oaepHash = masterKey['padding-hash'] ?? ''
    return privateDecrypt({ key: material, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, first.ciphertext)
  }
  return unwrapAes(header, first, Buffer.from(material, 'base64'))
}

function unwrapAes(header: Header, { providerInfo, ciphertext }: EncryptedDataKey, key: Buffer): Buffer {
  const iv = Buffer.from(providerInfo.slice(-12), 'latin1')
  const decipher = createDecipheriv('aes-256-gcm', key, iv)
  const context = header.authenticated.subarray(35)
  const length = Buffer.from(context).readUInt16BE(0)
  decipher.setAAD(context.subarray(2, 2 + length))
  decipher.setAuthTag(ciphertext.subarray(-16))
  return Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()])
}

const absent = !existsSync(FOLDER) && 'the vectors are not beside the project (../shared/vectors): skipped'

t.test(
  'the six published messages of suite 0x0478 under raw keys open whole, in pieces and octet by octet',
  { skip: absent },
  async (t) => {
    const { file, keys, cases } = loadVectors('v4-Net-4.0.1.zip')
    const ours = cases.filter(
      ([
        name,
        {
          cmm,
          'master-keys': [key],
        },
      ]) => {
        return name.startsWith('0478') && cmm === 'Default' && key?.type === 'raw'
      },
    )
    t.equal(ours.length, 6)
    for (const [name, { ciphertext, 'master-keys': masterKeys, result }] of ours) {
      const plain = file(result.output.plaintext)
      const [masterKey] = masterKeys
      if (masterKey === undefined) throw new Error('no master key')
      for (const size of [Number.MAX_SAFE_INTEGER, 1000, 1]) {
        const { message } = await open(inPieces(file(ciphertext), size), {
          profile: vectorProfile,
          unlock: (header) => ({ dataKey: unwrap(header, masterKey, keys), plainSize: plain.length }),
        })
        t.ok(plain.equals(message), `${name}, ${size === 1 ? 'octet by octet' : `pieces of ${size}`}`)
      }
    }
  },
)

t.test(
  'messages of every other suite are refused by the name of the suite, before a key is asked for',
  { skip: absent },
  async (t) => {
    const { file, cases } = loadVectors('v4-Net-4.0.1.zip')
    const others = cases.filter(([name]) => !name.startsWith('0478'))
    t.equal(others.length, 120)
    for (const [name, { ciphertext }] of others) {
      const fault = await refusal(file(ciphertext), () => t.fail('asked for a key'))
      t.match(fault, { code: 'unsupported-suite', detail: `suite 0x${name.slice(0, 4)}` }, name)
    }
  },
)

t.test('every published invalid message is refused', { skip: absent }, async (t) => {
  const { file, keys, cases } = loadVectors('invalid-Net-4.0.0.zip')
  t.equal(cases.length, 28)
  for (const [name, { ciphertext, 'master-keys': masterKeys }] of cases) {
    const [masterKey] = masterKeys
    if (masterKey === undefined) throw new Error('no master key')
    const fault = await refusal(file(ciphertext), (header) => unwrap(header, masterKey, keys))
    t.ok(fault, name)
    t.comment(`${name.slice(0, 12)}: ${fault?.code} ${fault?.detail}`)
  }
})

t.test(
  'the product reads none of the published messages: their keys and contexts are not ours',
  { skip: absent },
  async (t) => {
    const { file, cases } = loadVectors('v4-Net-4.0.1.zip')
    for (const [name, { ciphertext }] of cases) {
      const attempt = open([file(ciphertext)], { unlock: () => t.fail('asked for a key') as never })
      await t.rejects(attempt, { name: 'EnvelopeError' }, name)
    }
  },
)

async function refusal(octets: Buffer, keyOf: (header: Header) => unknown): Promise<EnvelopeError | null> {
  try {
    await open([octets], {
      profile: vectorProfile,
      unlock: (header) => ({ dataKey: keyOf(header) as Buffer, plainSize: 10_240 }),
    })
  } catch (error) {
    if (error instanceof EnvelopeError) return error
    throw error
  }
  return null
}
