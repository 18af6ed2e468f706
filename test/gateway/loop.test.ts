import t from 'tap'
import { type Intake, readMemory } from '../../gateway/intake.ts'
import { recogniseHandled } from '../../gateway/loop.ts'
import { formatLoopStamp } from '../../gateway/stamp.ts'
import { parseEnvelopeId, parseOrgId } from '../../protocol/identifiers.ts'

const org = parseOrgId('acme.example')
const id = parseEnvelopeId('AAAAAAAAAAAAAAAAAAAAAA')
if (org === null || id === null) throw new Error('an id does not parse')
const notice = { link: 'https://open.acme.example/m/x', expiresAt: '2026-12-01T00:00:00Z' }
const keyServer = { handled: async () => ({ handled: true, notice }) }

/** A sealed mail that came back with a stamp of this secret. */
function stamped(secret: string): Intake {
  const stamp = formatLoopStamp({ org: org ?? never(), id: id ?? never(), secret })
  const text =
    `Sealpost-Handled: ${stamp}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n` +
    '--b\r\nContent-Type: application/vnd.sealpost; name="protected-message.sealpost"\r\n\r\nAAAA\r\n--b--\r\n'
  const content = readMemory(Buffer.from(text))
  return { org, content } as unknown as Intake
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
