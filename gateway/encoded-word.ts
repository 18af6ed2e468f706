/** Octets of UTF-8 in one encoded word: `=?utf-8?B?…?=` stays within 75 characters (RFC 2047 2). */
const WORD_OCTETS = 45

/** The text as RFC 2047 encoded words in UTF-8, each within 75 characters and none cutting a character. */
export function encodedWords(text: string): string[] {
  const words: string[] = []
  let piece = ''
  let octets = 0
  for (const character of text) {
    const length = Buffer.byteLength(character)
    if (octets + length > WORD_OCTETS) {
      words.push(encodedWord(piece))
      piece = ''
      octets = 0
    }
    piece += character
    octets += length
  }
  if (piece !== '') words.push(encodedWord(piece))
  return words
}

function encodedWord(text: string): string {
  return `=?utf-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`
}
