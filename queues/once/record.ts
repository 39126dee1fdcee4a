import { WaggleError } from '../../src/shared/errors.ts';
import { withRedis } from '../topology/redis-errors.ts';
import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';
import type { Once, OnceRecord, Repeats, StoredAnswer } from './types.ts';

/** A repeat that meets its first while that is being answered should try again this soon. */
const RETRY_AFTER_MS = 1000;

/** Requests that came with an idempotency key, for 24 hours. */
export class OnceRecords implements Repeats {
  readonly #topology: Topology;
  readonly #look: ReturnType<typeof defineScript>;
  readonly #answer: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    const script = (name: string, file: string, keys: number): ReturnType<typeof defineScript> =>
      defineScript(topology.redis, name, new URL(file, import.meta.url), keys);
    this.#look = script('waggleOnceLook', './look.lua', 2);
    this.#answer = script('waggleOnceAnswer', './answer.lua', 1);
  }

  async find(tenant: string, once: Once): Promise<OnceRecord | null> {
    const shard = this.#topology.shardOf(tenant);
    const { keys } = this.#topology;
    const marks = keys.tenantMarks(shard, tenant);
    const reply = await withRedis(() => this.#look(keys.tenantOnce(shard, tenant, once.key), marks, '0'));
    return recordOf(reply, once);
  }

  async keep(tenant: string, once: Once, answer: StoredAnswer): Promise<StoredAnswer> {
    const kept = await withRedis(() => this.#answer(this.#key(tenant, once), JSON.stringify(answer)));
    return kept === '' ? answer : (JSON.parse(String(kept)) as StoredAnswer);
  }

  async giveUp(tenant: string, once: Once): Promise<void> {
    await withRedis(() => this.#answer(this.#key(tenant, once), ''));
  }

  #key(tenant: string, once: Once): string {
    return this.#topology.keys.tenantOnce(this.#topology.shardOf(tenant), tenant, once.key);
  }
}

/**
 * What `look.lua` answers.
 * @throws WaggleError idempotency_key_reused, idempotency_in_progress
 */
export function recordOf(reply: unknown, once: Once): OnceRecord | null {
  if (!Array.isArray(reply)) return null;
  const [fingerprint, outcomes, answer, leftMs] = reply as [string, string, string, number];
  if (fingerprint !== once.fingerprint) {
    throw new WaggleError('idempotency_key_reused', 'The idempotency key came with another request before.');
  }
  if (leftMs > 0) {
    const options = { retryAfterMs: RETRY_AFTER_MS };
    throw new WaggleError(
      'idempotency_in_progress',
      'The first request with this key is in progress.',
      options,
    );
  }
  return {
    outcomes: outcomes.split(' '),
    answer: answer === '' ? null : (JSON.parse(answer) as StoredAnswer),
  };
}
