import type { OutboundFacts } from '../rulebook/index.ts'
import { fieldsOf, type Header } from './header.ts'
import { decodeWords } from './mime-words.ts'

type Label = OutboundFacts['message']['labels'][number]

const LABEL_LIMIT = 32
/** Characters that are read of all fields together. */
const LENGTH_LIMIT = 16_384
const NAME_LIMIT = 256
const PAIR = /^\s*MSIP_Label_([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})_([A-Za-z]{1,32})\s*=(.*)$/is
const ENCRYPTS = 8

/**
 * The sensitivity labels of Microsoft Purview that the field `msip_labels` names: `MSIP_Label_<id>_Enabled=True; MSIP_Label_<id>_Name=…`
 * with more pairs for each id. What is no such pair is passed over; of a pair that stands twice the first counts.
 */
export function readLabels(header: Header): readonly Label[] {
  const text = fieldsOf(header, 'msip_labels')
    .map(({ value }) => value)
    .join(';')
    .slice(0, LENGTH_LIMIT)
  const labels = new Map<string, Map<string, string>>()
  for (const pair of text.split(';')) {
    const [, id = '', key = '', value = ''] = PAIR.exec(pair) ?? []
    if (id === '') continue
    const known = labels.get(id.toLowerCase()) ?? new Map<string, string>()
    if (labels.size === LABEL_LIMIT && known.size === 0) continue
    labels.set(id.toLowerCase(), known)
    if (!known.has(key.toLowerCase())) known.set(key.toLowerCase(), value.trim())
  }
  return [...labels].map(([id, pairs]) => labelOf(id, pairs))
}

function labelOf(id: string, pairs: ReadonlyMap<string, string>): Label {
  const said = (key: string) => decodeWords(pairs.get(key) ?? '').slice(0, NAME_LIMIT)
  const bits = /^\d{1,4}$/.test(said('contentbits')) ? Number(said('contentbits')) : 0
  return {
    id,
    name: said('name'),
    tenant: said('siteid').toLowerCase(),
    enabled: said('enabled').toLowerCase() === 'true',
    method: said('method').toLowerCase(),
    encrypts: (bits & ENCRYPTS) !== 0,
  }
}
