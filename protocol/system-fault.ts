const words: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EISDIR: 'is a folder; name a file',
  ENOTDIR: 'leads through a file as if it were a folder; correct the path',
  EEXIST: 'is there already, and is no folder',
  EACCES: 'this user may not read or write it',
  EPERM: 'this user may not read or write it',
  EROFS: 'lies on a disk that can only be read',
  ENOSPC: 'there is no room left on its disk',
}

/**
 * What an error of the file system means, with its path before it (or `file`, as it does not always name one); what it says itself where there is
 * no plainer word.
 */
export function systemFault(error: unknown, file?: string): string {
  if (!(error instanceof Error)) return String(error)
  const { code = '', path = file } = error as NodeJS.ErrnoException
  const said = words[code] ?? error.message
  return path === undefined ? said : `${path}: ${said}`
}
