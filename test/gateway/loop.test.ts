import t from 'tap'
import { type Intake, readMemory } from '../../gateway/intake.ts'
import { recogniseHandled } from '../../gateway/loop.ts'
import { formatLoopStamp } from '../../gateway/stamp.ts'
import type { HandledRequest, HandledResult } from '../../protocol/gateway-api.ts'
import { type Address, parseAddress, parseEnvelopeId, parseOrgId } from '../../protocol/identifiers.ts'

const org = parseOrgId('acme.example')
const id = parseEnvelopeId('AAAAAAAAAAAAAAAAAAAAAA')
if (org === null || id === null) throw new Error('an id does not parse')
const notice = { link: 'https://open.acme.example/m/x', expiresAt: '2026-12-01T00:00:00Z' }
const to = addressOf('kunde@example.org')
const others = [addressOf('a@example.org'), addressOf('b@example.org')]
const keyServer = { handled: async () => ({ handled: true, notice, reached: [] }) }

function addressOf(text: string): Address {
  return parseAddress(text) ?? never()
}

/** A mail that came back with a stamp of this secret; `name`: of its attachment. */
function stamped(secret: string, recipients: readonly Address[] = [to], name = 'protected-message.sealpost'): Intake {
  const stamp = formatLoopStamp({ org: org ?? never(), id: id ?? never(), secret })
  const text =
    `Sealpost-Handled: ${stamp}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n` +
    `--b\r\nContent-Type: application/vnd.sealpost; name="${name}"\r\n\r\nAAAA\r\n--b--\r\n`
  const content = readMemory(Buffer.from(text))
  return { org, content, recipients: recipients.map((address) => ({ address })) } as unknown as Intake
}

function never(): never {
  throw new Error('an id does not parse')
}

t.test('while a secret is changed, stamps of the new one and of the old one are believed, and no others', async (t) => {
  const secrets = { loopSecret: 'the-new-secret-of-two', otherLoopSecret: 'the-old-secret-of-two' }
  t.match(await recogniseHandled(stamped(secrets.loopSecret), secrets, keyServer), { id, ...notice })
  t.match(await recogniseHandled(stamped(secrets.otherLoopSecret), secrets, keyServer), { id, ...notice })
  t.equal(await recogniseHandled(stamped('one-that-was-never-ours'), secrets, keyServer), null)
  const alone = { ...secrets, otherLoopSecret: null }
  t.equal(await recogniseHandled(stamped(secrets.otherLoopSecret), alone, keyServer), null, 'once it is taken out')
})

t.test('a mail whose recipients all have it, or may have it, is refused, with its envelope or without', async (t) => {
  const secrets = { loopSecret: 'the-secret', otherLoopSecret: null }
  const asked: HandledRequest[] = []
  const reaching = (...reached: Address[]) => ({
    async handled(request: HandledRequest): Promise<HandledResult> {
      asked.push(request)
      const known = request.digest !== undefined
      return { handled: known, notice: known ? notice : null, reached }
    },
  })
  const ask = (mail: Intake, ...reached: Address[]) => recogniseHandled(mail, secrets, reaching(...reached))
  const cameBack = { code: 'came-back', message: /exception.*Microsoft 365.*Google/ }
  await t.rejects(ask(stamped('the-secret', others), ...others), cameBack)
  await t.rejects(ask(stamped('the-secret', [to], 'other.bin'), to), cameBack)
  t.match(await ask(stamped('the-secret', [...others, to]), ...others), { id }, 'one has not: it goes on')
  t.equal(await ask(stamped('the-secret', [...others, to], 'other.bin'), ...others), null, 'or is like any other')
  t.match(asked.at(-1), { id, recipients: [...others, to], digest: undefined })
  const before = asked.length
  t.equal(await ask(stamped('another'), to), null, 'a stamp with a wrong secret says nothing')
  t.equal(asked.length, before, 'and nobody is asked')
})
