/**
 * The shard a tenant lives in: FNV-1a over the id's UTF-8, finished with a 32-bit mixer so that ids which differ in
 * their last character alone still spread. Stable for ever: stored jobs are found by it, so changing a constant here
 * loses every job of every tenant.
 */
export function shardOf(tenant: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(tenant, 'utf8')) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % shards;
}
