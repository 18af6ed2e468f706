/**
 * Where each header field of an accepted message goes. This table is the only place that decides it; docs/format.md, "The outgoing mail",
 * prints it, and a test holds the two together.
 */

/**
 * `outside`: kept on the outgoing mail, and sealed. `microsoft`: the same, but only towards Microsoft. `sealed`: only inside.
 * `nowhere`: reaches no recipient.
 */
export type Place = 'outside' | 'microsoft' | 'sealed' | 'nowhere'

/** How a field is written anew where its octets cannot be kept (8-bit text, control characters, a line of more than 998 octets). */
export type Shape = 'addresses' | 'text' | 'words'

export type Row = {
  /** A field name, or one with `*` at its end. The first row that fits decides. */
  readonly name: string
  readonly place: Place
  /** Of the fields of that name, how many are kept outside. RFC 5322 3.6 allows one of most. */
  readonly keeps: 'all' | 'first' | 'none'
  readonly shape: Shape
  /** For docs/format.md. */
  readonly note: string
}

const row = (name: string, place: Place, keeps: Row['keeps'], shape: Shape, note = ''): Row => ({
  name,
  place,
  keeps,
  shape,
  note,
})

export const headerTable: readonly Row[] = [
  row('Bcc', 'nowhere', 'none', 'addresses', 'nobody but the sender sees blind recipients'),
  row('Resent-Bcc', 'nowhere', 'none', 'addresses'),
  row('Sealpost-*', 'nowhere', 'none', 'text', 'the tenant secret, stamps, wishes'),
  row('X-Sealpost-Tenant', 'nowhere', 'none', 'text', 'the tenant secret, under the name that Google gives it'),
  row('X-MS-Exchange-Organization-*', 'nowhere', 'none', 'text', 'internal to the sending organization'),
  row('X-MS-Exchange-Forest-*', 'nowhere', 'none', 'text'),
  row('X-MS-Exchange-CrossPremises-*', 'nowhere', 'none', 'text'),
  row('Received', 'outside', 'all', 'words', 'ours is set before the first'),
  row('Resent-Date', 'outside', 'all', 'words'),
  row('Resent-From', 'outside', 'all', 'addresses'),
  row('Resent-Sender', 'outside', 'all', 'addresses'),
  row('Resent-To', 'outside', 'all', 'addresses'),
  row('Resent-Cc', 'outside', 'all', 'addresses'),
  row('Resent-Message-ID', 'outside', 'all', 'words'),
  row('From', 'outside', 'first', 'addresses', 'made from MAIL FROM if missing'),
  row('Sender', 'outside', 'first', 'addresses'),
  row('Reply-To', 'outside', 'first', 'addresses'),
  row('To', 'outside', 'first', 'addresses'),
  row('Cc', 'outside', 'first', 'addresses'),
  row('Date', 'outside', 'first', 'words', 'made if missing'),
  row('Message-ID', 'outside', 'first', 'words', 'made if missing'),
  row('In-Reply-To', 'outside', 'first', 'words'),
  row('References', 'outside', 'first', 'words'),
  row('Thread-Index', 'outside', 'first', 'words'),
  row('Auto-Submitted', 'outside', 'first', 'words'),
  row('Precedence', 'outside', 'first', 'words'),
  row('X-Auto-Response-Suppress', 'outside', 'first', 'words'),
  row('List-*', 'outside', 'all', 'words'),
  row('Importance', 'outside', 'first', 'words'),
  row('TLS-Required', 'outside', 'first', 'words', 'RFC 8689: for servers further on'),
  row('msip_labels', 'outside', 'first', 'text'),
  row('X-MS-Exchange-*', 'microsoft', 'all', 'words'),
  row('X-LD-Processed', 'microsoft', 'all', 'words'),
  row('Subject', 'outside', 'first', 'text', 'or what policy puts in its place'),
  row('Thread-Topic', 'sealed', 'none', 'text', 'repeats the subject'),
  row('Disposition-Notification-To', 'sealed', 'none', 'addresses', 'the notice is not the message'),
  row('DKIM-Signature', 'sealed', 'none', 'words', 'signs the message inside'),
  row('ARC-*', 'sealed', 'none', 'words'),
  row('Authentication-Results', 'sealed', 'none', 'words'),
  row('MIME-Version', 'sealed', 'none', 'words', 'made anew for the outgoing mail'),
  row('Content-*', 'sealed', 'none', 'words', 'made anew for the outgoing mail'),
  row('*', 'sealed', 'none', 'text', 'every other field'),
]

const exact = new Map<string, Row>()
const stems: { readonly stem: string; readonly row: Row }[] = []
for (const entry of headerTable) {
  const key = entry.name.toLowerCase()
  if (key.endsWith('*')) stems.push({ stem: key.slice(0, -1), row: entry })
  else exact.set(key, entry)
}

/** The row for a field of that lower-case name. A line that is no field ('') is sealed only. */
export function rowOf(key: string): Row {
  const found = exact.get(key) ?? stems.find(({ stem }) => key.startsWith(stem))?.row
  if (found === undefined) throw new Error('the last row of the header table takes every field')
  return found
}

/** Whether a field in that row goes on the outgoing mail. */
export function isKept(row: Row, towardsMicrosoft: boolean): boolean {
  return row.place === 'outside' || (row.place === 'microsoft' && towardsMicrosoft)
}

/** The table as docs/format.md prints it. */
export function renderTable(): string {
  const places: Record<Place, string> = {
    outside: 'outside',
    microsoft: 'outside, towards Microsoft only',
    sealed: 'sealed only',
    nowhere: 'nowhere',
  }
  const lines = headerTable.map(
    ({ name, place, keeps, note }) => `| \`${name}\` | ${places[place]} | ${keeps === 'none' ? '' : keeps} | ${note} |`,
  )
  return ['| field | place | kept | note |', '| --- | --- | --- | --- |', ...lines].join('\n')
}
