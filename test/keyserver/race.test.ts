import t from 'tap'
import { Refused } from '../../cli/recipient.ts'
import { openHouse } from './house.ts'

t.test(
  'many releases race one revocation: in the log no release follows it, and none that left is missing',
  async (t) => {
    const house = await openHouse(t)
    for (let round = 0; round < 3; round++) {
      const people = Array.from({ length: 4 }, (_, i) => `person${i}@example.org`)
      const { id, wrappedKey } = await house.issue({ recipients: people })
      const browsers = await Promise.all(
        people.map(async (person, i) => {
          const browser = await house.recipient(`198.51.${100 + i}.1`)
          const before = house.mails.length
          await browser.askCode(id, person)
          await browser.answer(await house.codeFor(before, person))
          return browser
        }),
      )
      const anna = await house.proven(id, 'anna@acme.example')
      let released = 0
      let revoked = 0
      let revoking: Promise<string> | null = null
      const asking = browsers.flatMap((browser) =>
        Array.from({ length: 6 }, async () => {
          for (let refused = 0; refused < 3; ) {
            try {
              await browser.releaseKey(id, wrappedKey)
              released += 1
            } catch (error) {
              if (!(error instanceof Refused) || error.code !== 'revoked') throw error
              revoked += 1
              refused += 1
            }
            if (released > 30) revoking ??= anna.revoke(id)
          }
        }),
      )
      await Promise.all(asking)
      await revoking
      t.ok(released > 0 && revoked > 0, `it was a race: ${released} released, ${revoked} refused`)
      const records = (await house.records()).filter((record) => 'envelope' in record && record.envelope === id)
      const kinds = records.map(({ kind }) => kind)
      t.ok(kinds.lastIndexOf('released') < kinds.indexOf('revoked'), 'no release follows the revocation')
      t.equal(kinds.filter((kind) => kind === 'released').length, released, 'each key that left is in the log')
      t.ok(kinds.indexOf('release-refused') > kinds.indexOf('revoked'), 'each refusal follows it')
      t.same(
        records.map(({ time }) => time),
        records.map(({ time }) => time).toSorted(),
      )
    }
  },
)
