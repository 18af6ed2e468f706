import { randomBytes } from 'node:crypto'
import Database from 'better-sqlite3'
import { originOf, type SignerKey, signerKey, verifierKey } from '../../audit/checkpoint.ts'
import type { AuditRecord } from '../../audit/kinds.ts'
import { createSealing, newPseudonym } from '../../audit/personal.ts'
import { LOG_TABLES } from '../../audit/schema.ts'
import { type CheckpointRow, createLogWriter, type Entry, type LeafRow, type LogWriter } from '../../audit/writer.ts'

export const HOST = 'mail.acme.example'
export const ORG = 'acme.example'
export const START = Date.parse('2030-01-01T00:00:00.000Z')

/** A database with logs in it, written the way the key server writes: leaves in transactions, checkpoints between them. */
export type Chest = {
  readonly file: string
  readonly db: Database.Database
  readonly writer: LogWriter
  readonly key: (log: string) => SignerKey
  put(log: string, entries: readonly Entry[]): readonly LeafRow[]
  sign(log: string): CheckpointRow | null
  close(): void
}

export function createChest(file: string): Chest {
  const db = new Database(file)
  db.pragma('journal_mode = wal')
  db.pragma('synchronous = off')
  db.exec(LOG_TABLES)
  const writer = createLogWriter(HOST, new Map())
  const secret = randomBytes(32)
  const key = (log: string): SignerKey => signerKey(originOf(HOST, log), secret)
  const addKey = db.prepare('insert or ignore into log_key values (?, ?)')
  const addLeaf = db.prepare<LeafRow>('insert into log_leaf values (@log, @idx, @hash, @record, @side)')
  const addNote = db.prepare<CheckpointRow>('insert into log_checkpoint values (@log, @size, @note, @frontier)')
  return {
    file,
    db,
    writer,
    key,
    put(log, entries) {
      const rows = writer.stage(log, entries)
      db.transaction(() => {
        addKey.run(log, verifierKey(key(log)))
        for (const row of rows) addLeaf.run(row)
      })()
      writer.committed()
      return rows
    },
    sign(log) {
      const row = writer.checkpoint(log, key(log))
      if (row === null) return null
      addNote.run(row)
      writer.checkpointed(row)
      return row
    },
    close: () => db.close(),
  }
}

/** The life of one envelope, as entries: issued, confirmed, delivered, released `releases` times. */
export function life(log: string, at: number, releases = 1, envelope = newPseudonym()): readonly Entry[] {
  const personKey = randomBytes(32)
  const pseudonym = newPseudonym()
  const entry = (fields: (sealing: ReturnType<typeof createSealing>) => object): Entry => {
    const sealing = createSealing(log)
    const record = { time: iso(at), request: null, ...fields(sealing) } as AuditRecord
    return { record, side: sealing.parts() }
  }
  const release = entry((sealing) => ({
    kind: 'released',
    envelope,
    person: sealing.person(pseudonym, personKey, 'anna@example.org'),
    network: sealing.value(pseudonym, personKey, '192.0.2.7'),
    role: 'recipient',
    proof: 'code',
    rule: 'default',
    policyHash: null,
  }))
  return [
    entry((sealing) => issued(envelope, at, [sealing.person(pseudonym, personKey, 'anna@example.org')])),
    entry((sealing) => ({
      kind: 'confirmed',
      envelope,
      gateway: 'gw1',
      instance: envelope,
      recipients: [sealing.person(pseudonym, personKey, 'anna@example.org')],
      part: { number: 1, of: 1 },
      copy: null,
    })),
    ...Array.from({ length: releases }, () => release),
  ]
}

export function issued(envelope: string, at: number, recipients: readonly { pseudonym: string; address: string }[]) {
  return {
    kind: 'issued',
    time: iso(at),
    request: null,
    envelope,
    gateway: 'gw1',
    rule: 'seal the rest',
    policyHash: '0'.repeat(64),
    sender: null,
    recipients,
    part: { number: 1, of: 1 },
    messageDigest: null,
    termsHash: 'A'.repeat(43),
    terms: { ttlSeconds: 2_592_000, proof: 'code' },
    expiresAt: iso(at + 2_592_000_000),
  } as const
}

/** A record with no more to it than its kind and envelope. */
export function ending(kind: 'expired' | 'revoked' | 'shredded', envelope: string, at: number): Entry {
  const base = { time: iso(at), request: null, envelope }
  const by = { role: 'server', person: null, name: null } as const
  switch (kind) {
    case 'expired':
      return { record: { ...base, kind } }
    case 'revoked':
      return { record: { ...base, kind, by, reason: 'a test' } }
    case 'shredded':
      return { record: { ...base, kind, cause: 'expired' } }
  }
}

/** An entry that is of no envelope. */
export function act(at: number, detail = 'nothing'): Entry {
  const by = { role: 'server', person: null, name: null } as const
  return { record: { kind: 'act', time: iso(at), request: null, by, act: 'test', detail } }
}

export function iso(at: number): string {
  return new Date(at).toISOString()
}
