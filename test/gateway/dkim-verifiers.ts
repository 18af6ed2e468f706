import { execFile } from 'node:child_process'
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { dkimVerify } from 'mailauth/lib/dkim/verify.js'
import { type DkimKey, dkimRecord, dkimRecordName } from '../../gateway/dkim-key.ts'

const run = promisify(execFile)
const OPENDKIM = '/usr/sbin/opendkim'

export const opendkimIsHere = await access(OPENDKIM).then(
  () => true,
  () => false,
)

/** What mailauth finds of each signature, such as `pass s1 acme.example`, in the order of the mail; DNS holds the records of `keys`. */
export async function byMailauth(mail: Buffer, keys: readonly DkimKey[]): Promise<string[]> {
  const records = new Map(keys.map((key) => [dkimRecordName(key), dkimRecord(key.pem)]))
  const { results } = await dkimVerify(mail, {
    resolver: async (name: string) => {
      const record = records.get(name)
      if (record === undefined) throw Object.assign(new Error('there is no such name'), { code: 'ENOTFOUND' })
      // As DNS has it: strings of up to 255 octets.
      return [record.match(/.{1,255}/g) ?? []]
    },
  })
  return results.map((one) => `${one.status.result} ${one.selector} ${one.signingDomain}`)
}

/** The same by Debian's opendkim, run once as a verifier on the mail in a file of `folder`; it names what passed, without an order. */
export async function byOpendkim(mail: Buffer, keys: readonly DkimKey[], folder: string): Promise<string[]> {
  const file = (name: string) => join(folder, name)
  // As SMTP hands it over: ended by a line end.
  const whole = mail.subarray(-2).equals(Buffer.from('\r\n')) ? mail : Buffer.concat([mail, Buffer.from('\r\n')])
  await writeFile(file('mail.eml'), whole)
  await writeFile(file('dns'), keys.map((key) => `${dkimRecordName(key)} ${dkimRecord(key.pem)}\n`).join(''))
  const config = ['Mode v', `TestDNSData ${file('dns')}`, 'Syslog no', 'AlwaysAddARHeader yes', 'AuthservID test']
  await writeFile(file('opendkim.conf'), `${config.join('\n')}\n`)
  const { stdout } = await run(OPENDKIM, ['-t', file('mail.eml'), '-x', file('opendkim.conf'), '-v', '-v'])
  const found = stdout.matchAll(/dkim=(\w+)(?: \([^)]*\))? header\.d=(\S+) \S+ \S+ header\.s=(\S+)/g)
  return Array.from(found, ([, result, domain, selector]) => `${result} ${selector} ${domain}`).sort()
}
