import { type Kysely, sql } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'
import { LOG_TABLES } from '../audit/schema.ts'

/** The steps from an empty SQLite database to today's, in the order of their numbers. A released step is never changed. */
export const migrations: MigrationProvider = {
  getMigrations: async () =>
    ({ '0001-spine': { up: spine }, '0002-log': { up: log }, '0003-hold': { up: hold } }) satisfies Record<
      string,
      Migration
    >,
}

const SPINE = `
create table envelope (
  seq integer primary key autoincrement, id text not null unique, org text not null, kind text not null, sender text, rule text not null, policy_hash text not null,
  message_digest text, terms text, terms_hash text, expires_at integer, bucket text, gateway text not null,
  issued_at integer not null, confirm_by integer not null, confirmed_at integer, revoked_at integer, shredded_at integer,
  due_at integer
);
create index envelope_due on envelope (due_at) where due_at is not null;
create index envelope_bucket on envelope (org, bucket) where due_at is not null;
create table secret (envelope integer primary key references envelope (seq), sealed blob not null);
create table recipient (
  envelope integer not null references envelope (seq), address text not null, state text not null,
  lease_gateway text, lease_instance text, lease_until integer, doubt integer not null default 0,
  primary key (envelope, address)
) without rowid;
create table copy (
  envelope integer not null references envelope (seq), digest text not null, sealed_size integer not null,
  plain_size integer not null, gateway text not null, at integer not null,
  primary key (envelope, digest)
) without rowid;
create table retry (
  org text not null, key text not null, envelope integer not null references envelope (seq), address text not null, at integer not null,
  primary key (org, key)
) without rowid;
create index retry_at on retry (at);
create table change (
  cursor integer primary key autoincrement, gateway text not null, envelope text not null, kind text not null, at integer not null
);
create index change_gateway on change (gateway, cursor);
create table stirred (org text not null, bucket text not null, primary key (org, bucket)) without rowid;
create table challenge (
  id text primary key, envelope text not null, org text not null, address text not null, code_hash blob, thumbprint text not null,
  tries_left integer not null, expires_at integer not null
) without rowid;
create index challenge_expires on challenge (expires_at);
create table session (
  id text primary key, org text not null, address text not null, thumbprint text not null, created_at integer not null,
  expires_at integer not null
) without rowid;
create index session_expires on session (expires_at);
create table counter (key text primary key, count integer not null, until integer not null) without rowid;
create index counter_until on counter (until);
create table policy (
  org text not null, hash text not null, text text not null, activated_at integer not null, primary key (org, hash)
) without rowid;
create table active_policy (
  org text primary key, hash text not null, foreign key (org, hash) references policy (org, hash)
) without rowid;
create table person (org text not null, address text not null, pseudonym text not null, primary key (org, address)) without rowid;
create table meta (name text primary key, value text not null) without rowid;
`

const HOLD = `
create table hold (
  envelope integer primary key references envelope (seq), state text not null, at integer not null, until integer not null,
  decided_at integer, officer text, reason text
);
create index hold_waiting on hold (at) where state = 'held';
`

async function spine(db: Kysely<unknown>): Promise<void> {
  await run(db, SPINE)
}

async function log(db: Kysely<unknown>): Promise<void> {
  await run(db, LOG_TABLES)
}

async function hold(db: Kysely<unknown>): Promise<void> {
  await run(db, HOLD)
}

async function run(db: Kysely<unknown>, statements: string): Promise<void> {
  for (const statement of statements.split(';')) {
    if (statement.trim() !== '') await sql.raw(statement).execute(db)
  }
}
