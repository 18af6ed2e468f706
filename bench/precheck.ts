import { identifyOctets } from '../envelope/reader.ts'
import { startCatcher } from './catcher.ts'
import { type BenchMail, benchMail } from './mail.ts'
import { openLine } from './smtp-line.ts'
import type { Stand } from './stand.ts'

const COUNT = 5

/**
 * Looks at what reaches the provider, before anything is measured: through the gateway nothing of the content, and a real envelope in each
 * mail (large ones by link: none); through Postfix the content untouched. Throws where it is not so.
 */
export async function checkSealed(stand: Stand, postfixPort: number | null): Promise<void> {
  const catcher = await startCatcher(stand.sinkPort)
  async function through(port: number, mail: BenchMail): Promise<readonly Buffer[]> {
    const before = catcher.mails.length
    const line = await openLine(port)
    for (let number = 0; number < COUNT; number++) {
      const answer = await line.send(mail, `look.${port}.${mail.size}.${number}`)
      if (!answer.startsWith('250')) throw new Error(`a mail of ${mail.size} octets was refused: ${answer.trim()}`)
    }
    line.close()
    await catcher.wait(before + COUNT)
    return catcher.mails.slice(before)
  }
  try {
    for (const size of [10_000, 1_000_000]) {
      const mail = benchMail(size)
      const sealed = await through(stand.gatewayPort, mail)
      for (const octets of sealed) if (faultOf(octets, mail) !== null) throw new Error(`${faultOf(octets, mail)}`)
      if (postfixPort === null) continue
      const relayed = await through(postfixPort, mail)
      if (!relayed.every((octets) => octets.includes(mail.after))) throw new Error('Postfix altered a mail')
    }
  } finally {
    await catcher.stop()
  }
}

/** What is wrong with a mail that ought to carry `mail` sealed, or null. */
export function faultOf(octets: Buffer, mail: BenchMail): string | null {
  const lines = mail.after.toString('latin1').split('\r\n')
  const clear = lines.filter((line) => line.length === 76 && octets.includes(line))
  if (clear.length > 0) return `the provider got ${clear.length} lines of the content in the clear`
  const part = /protected-message\.sealpost[\s\S]*?\r\n\r\n([A-Za-z0-9+/=\r\n]+)/.exec(octets.toString('latin1'))?.[1]
  if (part === undefined) return 'the provider got a mail without an envelope'
  const sealed = Buffer.from(part, 'base64')
  identifyOctets(sealed)
  return sealed.length < mail.after.length / 2 ? 'the envelope is too small to hold the mail' : null
}
