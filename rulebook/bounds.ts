/** What a policy file may hold at most. A file beyond any of these is faulty; nothing in it is evaluated. */
export const bounds = {
  /** Characters of the whole file. */
  fileCharacters: 131_072,
  /** Nested lists and maps of the YAML. */
  yamlDepth: 24,
  /** Characters of one condition; also in the schema. */
  conditionCharacters: 2000,
  /** Nodes of one condition's syntax tree, macros expanded. */
  nodes: 400,
  /** Nested parts of one condition. */
  depth: 40,
  /** Entries of one list written in a condition. */
  listEntries: 200,
  /** `all`, `exists`, `filter` and `map` inside one another. */
  loops: 2,
  /** Characters that a regular expression is tried on; a longer text is an evaluation error. */
  matchedCharacters: 16_384,
  /** Octets of a mail's texts that are looked at, decoded; what is more is not seen, and `message.textWhole` says so. */
  textOctets: 1_048_576,
  /** Characters of a mail's text that a regular expression is tried on at once, and how many of them two such pieces share. */
  windowCharacters: 65_536,
  overlapCharacters: 4_096,
  /** Characters of a regular expression. */
  patternCharacters: 500,
  /** Faults that are reported at once. */
  faults: 100,
} as const
