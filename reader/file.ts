/** '812 bytes', '24 KB', '3.1 MB'. */
export function sizeInWords(octets: number): string {
  if (octets < 1000) return `${octets} bytes`
  if (octets < 1_000_000) return `${Math.round(octets / 1000)} KB`
  return `${(octets / 1_000_000).toFixed(1)} MB`
}

/** A picture as a data: URL (RFC 2397). */
export function toDataUrl({ type, octets }: { readonly type: string; readonly octets: Uint8Array }): string {
  let binary = ''
  const step = 0x8000
  for (let at = 0; at < octets.length; at += step) binary += String.fromCharCode(...octets.subarray(at, at + step))
  return `data:${type};base64,${btoa(binary)}`
}

/**
 * Has the browser save octets from memory. The type is always a neutral one: a saved file is never opened as a page of this origin.
 */
export function saveFile(name: string, octets: Uint8Array<ArrayBuffer>): void {
  const url = URL.createObjectURL(new Blob([octets], { type: 'application/octet-stream' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
