/** What tells the two outputs of the key derivation of suite 0x0478 apart, its `info`: docs/format.md, section Keys. */
export const DERIVE = new Uint8Array([0x04, 0x78, ...new TextEncoder().encode('DERIVEKEY')])
export const COMMIT = new TextEncoder().encode('COMMITKEY')
