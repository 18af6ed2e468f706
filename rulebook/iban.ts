/** Where one may begin: country and check digits, touched by no letter or digit before them. */
const START = /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}/g

/** Characters of an account number by country (SWIFT's registry of IBANs). */
const lengths: Readonly<Record<string, number>> = Object.assign(
  Object.create(null),
  countries(15, 'NO'),
  countries(16, 'BE'),
  countries(18, 'DK FI FK FO GL NL SD'),
  countries(19, 'MK SI'),
  countries(20, 'AT BA EE KZ LT LU MN XK'),
  countries(21, 'CH HR LI LV'),
  countries(22, 'BG BH CR DE GB GE IE ME RS VA'),
  countries(23, 'AE GI IL IQ OM SO TL'),
  countries(24, 'AD CZ ES MD PK RO SA SE SK TN VG'),
  countries(25, 'LY PT ST'),
  countries(26, 'IS TR'),
  countries(27, 'BI DJ FR GR IT MC MR SM'),
  countries(28, 'AL AZ BY CY DO GT HN HU LB NI PL SV'),
  countries(29, 'BR EG PS QA UA'),
  countries(30, 'JO KW MU YE'),
  countries(31, 'MT SC'),
  countries(32, 'LC'),
  countries(33, 'RU'),
)

function countries(length: number, codes: string): Readonly<Record<string, number>> {
  return Object.fromEntries(codes.split(' ').map((code) => [code, length]))
}

/** How many international bank account numbers stand in a text: of a known country and its length, with the right check digits. Linear in its length. */
export function countIbans(text: string): number {
  let count = 0
  for (const { index } of text.matchAll(START)) {
    const length = lengths[text.slice(index, index + 2).toUpperCase()]
    if (length !== undefined && isIban(characters(text, index, length))) count += 1
  }
  return count
}

/** So many letters and digits from there on, single spaces and hyphens between them left out; '' if they are fewer or more. */
function characters(text: string, from: number, length: number): string {
  let found = ''
  for (let at = from; found.length < length; at++) {
    const one = text[at] ?? ''
    if (/[A-Za-z0-9]/.test(one)) found += one.toUpperCase()
    else if ((one !== ' ' && one !== '-') || !/[A-Za-z0-9]/.test(text[at + 1] ?? '')) return ''
    if (found.length === length && /[A-Za-z0-9]/.test(text[at + 1] ?? '')) return ''
  }
  return found
}

/** ISO 13616, ISO/IEC 7064 MOD 97-10. */
function isIban(text: string): boolean {
  if (text === '') return false
  let rest = 0
  for (const one of text.slice(4) + text.slice(0, 4)) {
    const value = Number.parseInt(one, 36)
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97
  }
  return rest === 1
}
