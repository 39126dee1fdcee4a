import type { RedisConnection } from '../topology/connections.ts';
import type { Keys } from '../topology/keys.ts';
import { defineScript } from '../topology/scripts.ts';

export type EntryKind = 'progress' | 'log' | 'chunk';

/** The job an entry is written for. */
export interface StreamOwner {
  shard: number;
  tenant: string;
  id: string;
  retainMs: { completed: number; failed: number };
}

const MAX_ENTRIES = 1000;
/** Longer than any run that writes nothing is likely to take; a finished job takes its stream along when it goes. */
const KEEP_BEYOND_MS = 86_400_000;

/** Writes to the streams of jobs, for handlers. */
export class StreamWriter {
  readonly #keys: Keys;
  readonly #write: ReturnType<typeof defineScript>;

  constructor(redis: RedisConnection, keys: Keys) {
    this.#keys = keys;
    this.#write = defineScript(redis, 'waggleStreamWrite', new URL('./write.lua', import.meta.url), 3);
  }

  /** @param json the entry; the last 1000 are kept for each job, so the caller bounds its length */
  async write(owner: StreamOwner, kind: EntryKind, json: string): Promise<void> {
    const { shard, tenant, id, retainMs } = owner;
    const keepMs = Math.max(retainMs.completed, retainMs.failed) + KEEP_BEYOND_MS;
    await this.#write(
      this.#keys.jobStream(shard, tenant, id),
      this.#keys.jobFollowed(shard, tenant, id),
      this.#keys.written(shard),
      kind,
      json,
      MAX_ENTRIES,
      keepMs,
      id,
    );
  }
}
