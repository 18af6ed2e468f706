/** What an attachment is, for rules. policies/README.md says what each word takes in. */
export const attachmentKinds = [
  'program',
  'script',
  'archive',
  'office',
  'pdf',
  'image',
  'audio',
  'video',
  'html',
  'text',
  'calendar',
  'message',
  'signature',
  'other',
] as const

export type AttachmentKind = (typeof attachmentKinds)[number]

const endings: Readonly<Record<string, AttachmentKind>> = Object.assign(
  Object.create(null),
  named(
    'program',
    'exe dll com scr pif cpl msi msix msixbundle msp mst msu appx appxbundle appinstaller sys drv ocx xll',
  ),
  named('program', 'application appref-ms gadget xbap diagcab jar apk app dmg pkg deb rpm run elf so dylib'),
  named(
    'script',
    'js jse mjs vb vbs vbe ws wsf wsh wsc sct hta bat cmd ps1 psm1 psd1 ps1xml sh bash csh ksh zsh command py pl',
  ),
  named(
    'script',
    'rb php lnk reg scf url jnlp chm iqy slk msc shb shs scpt applescript library-ms search-ms settingcontent-ms',
  ),
  named('archive', 'zip zipx 7z rar gz tgz bz2 xz zst tar cab ace arj lzh lz iso img vhd vhdx udf'),
  named('office', 'doc docx docm dot dotx dotm xls xlsx xlsm xlsb xlt xltx xltm xlam ppt pptx pptm pps ppsx ppsm rtf'),
  named('office', 'odt ods odp odg ott ots otp pages numbers vsd vsdx mpp pub one accdb mdb'),
  named('pdf', 'pdf'),
  named('image', 'png jpg jpeg gif bmp tif tiff webp svg heic ico avif'),
  named('audio', 'mp3 wav ogg flac m4a aac opus amr'),
  named('video', 'mp4 mov avi mkv webm wmv mpg mpeg m4v'),
  named('html', 'html htm xhtml shtml mht mhtml'),
  named('text', 'txt csv tsv json xml yaml yml md log ini conf sql'),
  named('calendar', 'ics vcs'),
  named('message', 'eml msg mbox'),
  named('signature', 'p7s p7m sig asc pgp gpg'),
)

function named(kind: AttachmentKind, names: string): Readonly<Record<string, AttachmentKind>> {
  return Object.fromEntries(names.split(' ').map((ending) => [ending, kind]))
}

/** By the end of a file name, in any case and without the spaces and full stops that Windows leaves out; null if it tells nothing. */
export function kindByName(name: string): AttachmentKind | null {
  let end = name.length
  while (end > 0 && /[\s.]/.test(name.charAt(end - 1))) end -= 1
  const ending = /\.([a-z0-9-]{1,20})$/.exec(name.slice(Math.max(0, end - 24), end).toLowerCase())?.[1] ?? ''
  return endings[ending] ?? null
}

const types: readonly (readonly [RegExp, AttachmentKind])[] = [
  [/^application\/(?:x-)?(?:ms-?dos-program|msdownload|dosexec|msi|executable|elf|sharedlib|mach-binary)$/, 'program'],
  [
    /^application\/(?:java-archive|x-java-archive|vnd\.android\.package-archive|vnd\.microsoft\.portable-executable)$/,
    'program',
  ],
  [
    /^(?:text|application)\/(?:x-)?(?:javascript|ecmascript|vbscript|sh|shellscript|python|perl|php|powershell|hta)$/,
    'script',
  ],
  [
    /^application\/(?:x-)?(?:zip|zip-compressed|7z-compressed|rar|rar-compressed|vnd\.rar|gzip|bzip2?|xz|tar|zstd)$/,
    'archive',
  ],
  [/^application\/(?:msword|rtf|msaccess|vnd\.ms-(?:excel|powerpoint|word|project|visio|access)\b.*)$/, 'office'],
  [/^application\/vnd\.(?:openxmlformats-officedocument|oasis\.opendocument)\..*$|^text\/rtf$/, 'office'],
  // Outlook's wrapping of whole mails, winmail.dat.
  [/^application\/(?:vnd\.)?ms-tnef$/, 'archive'],
  [/^application\/(?:x-)?pdf$/, 'pdf'],
  [/^image\//, 'image'],
  [/^audio\//, 'audio'],
  [/^video\//, 'video'],
  [/^text\/html$|^application\/xhtml\+xml$/, 'html'],
  [/^text\/calendar$|^application\/ics$/, 'calendar'],
  [/^message\/|^application\/vnd\.ms-outlook$/, 'message'],
  [/^application\/(?:x-)?(?:pkcs7-(?:mime|signature)|pgp-(?:signature|encrypted|keys))$/, 'signature'],
  [/^text\/|^application\/(?:.{1,80}\+)?(?:json|xml|yaml|csv)$/, 'text'],
]

/** By media type in lower case; null if it tells nothing. */
export function kindByType(type: string): AttachmentKind | null {
  return types.find(([pattern]) => pattern.test(type))?.[1] ?? null
}
