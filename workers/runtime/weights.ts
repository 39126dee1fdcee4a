import type { Arbiter } from './arbiter.ts';
import type { ShardSource } from './source.ts';

/** How old the weight of a source may be that competes with others; that of one that comes back from being idle. */
const MAX_AGE_MS = 250;
const MAX_AGE_OF_WOKEN_MS = 25;

interface Weighed {
  askedAt: number;
  /** While Redis is away one question is enough. */
  asking: boolean;
}

/**
 * Tells the arbiter the summed weights of the runnable tenants of each source. They only matter between sources that
 * compete, so nothing is asked while fewer than two may have work.
 */
export class Weights {
  readonly #sources: readonly Pick<ShardSource, 'runnableWeight'>[];
  readonly #arbiter: Arbiter;
  readonly #weighed: Weighed[];
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(sources: readonly Pick<ShardSource, 'runnableWeight'>[], arbiter: Arbiter) {
    this.#sources = sources;
    this.#arbiter = arbiter;
    this.#weighed = sources.map(() => ({ askedAt: -Infinity, asking: false }));
  }

  /** A source became ready; what is known of it is from when it last had work. */
  woke(index: number): void {
    this.#refresh((other) => (other === index ? MAX_AGE_OF_WOKEN_MS : MAX_AGE_MS));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #refresh(maxAgeMs: (index: number) => number): void {
    const ready = [...this.#sources.keys()].filter((index) => this.#arbiter.isReady(index));
    if (ready.length < 2 || this.#stopped) return;
    for (const index of ready) void this.#ask(index, maxAgeMs(index));
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#refresh(() => MAX_AGE_OF_WOKEN_MS);
    }, MAX_AGE_MS);
  }

  async #ask(index: number, maxAgeMs: number): Promise<void> {
    const [source, weighed] = [this.#sources[index], this.#weighed[index]];
    const now = performance.now();
    if (!source || !weighed || weighed.asking || now - weighed.askedAt < maxAgeMs) return;
    weighed.asking = true;
    weighed.askedAt = now;
    try {
      this.#arbiter.setWeight(index, await source.runnableWeight());
    } catch {
      // Redis is away; the weight of before is as good as any.
    } finally {
      weighed.asking = false;
    }
  }
}
