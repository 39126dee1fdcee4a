/**
 * Every Redis key that is Waggle's own, outside BullMQ's and the fair backend's. `{wg:<n>}` is the hash tag of shard n,
 * so everything a tenant owns lies in one slot of a cluster.
 */

/** What stands before `:<queue>:…` in every key of the shard; also the prefix given to BullMQ. */
export function shardPrefix(shard: number, root = 'wg'): string {
  return `{${root}:${shard}}`;
}

/** The global keys and those of a shard. `root` is `wg`, and something else only in tests that share a server. */
export class Keys {
  readonly #root: string;

  constructor(root = 'wg') {
    this.#root = root;
  }

  /** STRING: the number of shards. Written by the first process; never removed. */
  get shards(): string {
    return `${this.#root}:shards`;
  }

  /** SET of queue names that were ever enqueued to. */
  get queues(): string {
    return `${this.#root}:queues`;
  }

  /** SET of tenant ids that were ever configured. */
  get tenants(): string {
    return `${this.#root}:tenants`;
  }

  /** HASH: `queue:<name>`, `task:<name>` -> what it may do over all tenants (JSON). Also the channel that tells of changes. */
  get overallLimits(): string {
    return `${this.#root}:limits`;
  }

  /** STRING: the worker that balances these limits over the shards. Goes when it stops saying so. */
  get overallLease(): string {
    return `${this.#root}:limits:lease`;
  }

  /** STRING: how often somebody has taken over. Never removed. */
  get overallFence(): string {
    return `${this.#root}:limits:fence`;
  }

  /** STRING: whose round is under way. Goes with the round, or 2 s after its start. */
  get overallRound(): string {
    return `${this.#root}:limits:round`;
  }

  /** STREAM of what was administered (field `act`, JSON). About 100,000 entries are kept. */
  get audit(): string {
    return `${this.#root}:audit`;
  }

  /** HASH: sha256, tenant, scopes, createdAt, expiresAt, lastUsedAt, revoked. Goes 7 days after it expired or was revoked. */
  apiKey(keyId: string): string {
    return `${this.#root}:apikey:${keyId}`;
  }

  /** SET of the ids of a tenant's API keys, at most 200. Those that have gone are dropped when it is listed. */
  tenantApiKeys(tenant: string): string {
    return `${this.#root}:apikeys:${tenant}`;
  }

  /** SET of the tenants of a shard that are being purged. Each goes when nothing of it is left. */
  purges(shard: number): string {
    return `${this.prefix(shard)}::purges`;
  }

  /** STRING: some process is purging the tenant. Goes with the purge, or 10 s after the process stopped saying so. */
  purgeLease(shard: number, tenant: string): string {
    return `${this.prefix(shard)}::purge:${tenant}`;
  }

  /** HASH with field `settings` (JSON). Whatever else a tenant owns is named `…:tenant:<id>:…`, so that a purge finds it. */
  tenant(shard: number, tenant: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}`;
  }

  /** ZSET of the ids of a tenant's jobs by creation in ms. Entries whose job is gone are dropped as others are added. */
  tenantJobs(shard: number, tenant: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:jobs`;
  }

  /** ZSET of what a tenant's jobs are found by; see queues/jobs/search/terms.ts. Goes as the jobs do. */
  tenantTerms(shard: number, tenant: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:terms`;
  }

  /** ZSET of a tenant's failed jobs in a queue by creation in ms; the fair backend's. Goes with them. */
  tenantFailed(shard: number, tenant: string, queue: string): string {
    return `${this.prefix(shard)}:${queue}:fair:failed::${tenant}`;
  }

  /** STREAM: what handlers of a job wrote (`kind`, `json`), the last 1000. Goes with the job, or a day after it would have. */
  jobStream(shard: number, tenant: string, jobId: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:stream:${jobId}`;
  }

  /** STRING: somebody follows the job. Goes 45 s after it was last said. */
  jobFollowed(shard: number, tenant: string, jobId: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:followed:${jobId}`;
  }

  /** STREAM: jobs of the shard that are followed and whose handlers wrote, about the last 1000. Goes a minute after the last. */
  written(shard: number): string {
    return `${this.prefix(shard)}::written`;
  }

  /** HASH: minute -> what the tenant used in it (JSON); see queues/usage. Goes 65 minutes after its last new minute. */
  tenantUsage(shard: number, tenant: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:usage`;
  }

  /**
   * HASH: f (fingerprint of the request), o (what became of its jobs), l (until when it is being answered, ms), a (the
   * answer, JSON); see queues/once. `hash` is of the idempotency key. Goes 24 hours after the request.
   */
  tenantOnce(shard: number, tenant: string, hash: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:once:${hash}`;
  }

  /** STRING: the job added last for a deduplication id with `ttlMs`; `hash` is of the id. Goes that long after the add. */
  tenantDedupe(shard: number, tenant: string, queue: string, hash: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:dedupe:${queue}:${hash}`;
  }

  /** HASH that lives inside one transaction: which of its jobs are not to be added. */
  tenantMarks(shard: number, tenant: string): string {
    return `${this.prefix(shard)}:tenant:${tenant}:marks`;
  }

  /** HASH: `<minute>:units`, `<minute>:weight`, the sums of a shard's tenants. Goes as a tenant's does. */
  usage(shard: number): string {
    return `${this.prefix(shard)}::usage`;
  }

  /** STRING: the last batch of usage that was booked for a worker process. Goes 65 minutes later. */
  usageSender(shard: number, sender: string): string {
    return `${this.prefix(shard)}::usage:${sender}`;
  }

  /** ZSET of `<queue> <id>` of finished jobs, by the time in ms at which they are to be removed. */
  retire(shard: number): string {
    return `${this.prefix(shard)}:retire`;
  }

  /**
   * ZSET of the ids of jobs with a time to live, by when it is over (ms). Each goes then, or when its job is removed.
   */
  ttl(shard: number): string {
    return `${this.prefix(shard)}::ttl`;
  }

  /** ZSET of `<queue> <worker>` of the workers of a shard, by when they last said so (ms). */
  workers(shard: number): string {
    return `${this.prefix(shard)}:workers`;
  }

  prefix(shard: number): string {
    return shardPrefix(shard, this.#root);
  }
}
