/** A run of digits, alone or in groups with one space, hyphen or full stop between them, that no letter or digit touches. */
const RUN = /(?<![A-Za-z0-9])\d{3,19}(?:[ .-]\d{3,19}){0,4000}(?![A-Za-z0-9])/g
const SHORTEST = 13
const LONGEST = 19

/** First digits and lengths that the large payment card networks give out (ISO/IEC 7812). */
const networks: readonly (readonly [first: RegExp, lengths: readonly number[]])[] = [
  [/^4/, [13, 16, 19]],
  [/^(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)/, [16]],
  [/^3[47]/, [15]],
  [/^(?:6011|64[4-9]|65)/, [16, 19]],
  [/^35(?:2[89]|[3-8])/, [16, 19]],
  [/^(?:30[0-5]|36|3[89])/, [14, 16]],
  [/^62/, [16, 17, 18, 19]],
]

/** How many payment card numbers stand in a text: of a known network and length, with the right check digit. Linear in its length. */
export function countCardNumbers(text: string): number {
  let count = 0
  for (const [run] of text.matchAll(RUN)) {
    const groups = run.split(/[ .-]/)
    for (let first = 0; first < groups.length; ) {
      const used = cardAt(groups, first)
      count += used === 0 ? 0 : 1
      first += Math.max(1, used)
    }
  }
  return count
}

/** How many groups from there on make a card number; 0 if none do. */
function cardAt(groups: readonly string[], first: number): number {
  let digits = ''
  for (let used = 1; first + used <= groups.length; used++) {
    digits += groups[first + used - 1]
    if (digits.length > LONGEST) return 0
    if (digits.length >= SHORTEST && isCardNumber(digits)) return used
  }
  return 0
}

function isCardNumber(digits: string): boolean {
  const known = networks.some(([first, lengths]) => lengths.includes(digits.length) && first.test(digits))
  return known && luhn(digits)
}

/** ISO/IEC 7812-1 annex B. */
function luhn(digits: string): boolean {
  let sum = 0
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index])
    const weighed = index % 2 === 1 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return sum % 10 === 0
}
