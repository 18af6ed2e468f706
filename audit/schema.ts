/**
 * The tables that the key server writes and {@link file://./sqlite.ts} reads; see docs/audit.md. Every statement may be run again.
 * - `log_key`: each verifier key (`verifierKey` string, its name the log's origin) that ever signed for a log. A log bears an
 *   organization's id, which always has a dot in it, or `server`.
 * - `log_leaf`: `idx` from 0 without a gap; `record` the leaf's octets, `hash` its RFC 6962 leaf hash (stored so that an altered leaf can
 *   be named), `side` the side-car or null. Clustered by (log, idx): reading a log is one pass over neighbouring pages.
 * - `log_checkpoint`: the signed note of the tree of `size` leaves, and its frontier (`encodeFrontier`), from which a writer starts again.
 */
export const LOG_TABLES = `
create table if not exists log_key (
  log text not null,
  verifier text not null,
  primary key (log, verifier)
) strict, without rowid;
create table if not exists log_leaf (
  log text not null,
  idx integer not null,
  hash blob not null,
  record blob not null,
  side blob,
  primary key (log, idx)
) strict, without rowid;
create table if not exists log_checkpoint (
  log text not null,
  size integer not null,
  note text not null,
  frontier blob not null,
  primary key (log, size)
) strict, without rowid;
`
