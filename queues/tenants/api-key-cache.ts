import type { VerifiedKey } from './types.ts';

/** So long may a revoked key still be taken by another process that has just seen it. */
const CACHE_MS = 3000;
const CACHE_MOST = 5000;

export interface CachedKey {
  key: VerifiedKey;
  /** ms epoch; Infinity for a key that never expires */
  expiresAt: number;
}

/** What this process has just read of API keys, by their hash, so that no secret lies in memory longer than its request. */
export class KeyCache {
  /** Oldest first. */
  readonly #keys = new Map<string, CachedKey & { until: number }>();
  #round = 0;

  get(sha256: string, now: number): CachedKey | undefined {
    const cached = this.#keys.get(sha256);
    return cached !== undefined && cached.until > now ? cached : undefined;
  }

  /** Ask before the read: what was read before a {@link forget} that came during it is not kept. */
  remembering(sha256: string, now: number): (found: CachedKey) => void {
    const round = this.#round;
    return (found) => {
      if (round !== this.#round) return;
      this.#keys.delete(sha256);
      this.#keys.set(sha256, { ...found, until: now + CACHE_MS });
      if (this.#keys.size <= CACHE_MOST) return;
      const [oldest] = this.#keys.keys();
      if (oldest !== undefined) this.#keys.delete(oldest);
    };
  }

  /** All of it: keys are revoked seldom, and reading the others again costs little. */
  forget(): void {
    this.#round += 1;
    this.#keys.clear();
  }
}
