/**
 * How many deliveries out of the spool run at a time over a next hop of so many connections: three quarters of them while nobody waits for a reply,
 * one less for each client that does, and never less than a quarter, so that a steady stream of new mail does not keep the old from leaving.
 */
export function spoolLanes(connections: number, clients: number): number {
  return Math.max(Math.ceil(connections * 0.25), Math.ceil(connections * 0.75) - clients)
}
