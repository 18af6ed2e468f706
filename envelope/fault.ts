/** Every way in which reading or writing an envelope can fail, with words for a person. Programs go by the code. */
export const faults = {
  'not-an-envelope': 'This is not a protected message.',
  'unsupported-version': 'This protected message was made by a version of the format that this reader does not know.',
  'unsupported-suite': 'This protected message uses an algorithm suite that this reader does not accept.',
  'malformed-header': 'The head of this protected message is damaged.',
  'not-canonical': 'The head of this protected message is written in a way that is not allowed.',
  'header-too-large': 'The head of this protected message is larger than allowed.',
  'wrong-key': 'The key does not belong to this protected message.',
  altered: 'This protected message was altered or damaged on its way.',
  truncated: 'The end of this protected message is missing.',
  'trailing-octets': 'Something was added behind the end of this protected message.',
  'wrong-size': 'The message inside does not have the size that was confirmed when it was sealed.',
  'bad-compression': 'The message inside cannot be unpacked.',
  'bad-request': 'The envelope cannot be sealed from these values.',
} as const

export type EnvelopeFault = keyof typeof faults

/** The one error that `envelope/` throws. `detail` is for logs: it names fields and numbers, never keys or content. */
export class EnvelopeError extends Error {
  readonly code: EnvelopeFault
  readonly detail: string

  constructor(code: EnvelopeFault, detail = '') {
    super(faults[code])
    this.name = 'EnvelopeError'
    this.code = code
    this.detail = detail
  }
}
