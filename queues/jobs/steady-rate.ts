import { setTimeout as delay } from 'node:timers/promises';

/** Keeps work to so many units a second, evenly: what was missed in a stall is not made up for in a burst. */
export class SteadyRate {
  readonly #perSecond: number;
  /** As `performance.now()` counts. */
  #freeAt = 0;

  /** @param perSecond Infinity = as fast as it goes */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** How many units to take at once, at most `most`: what a tenth of a second allows, or one. */
  portion(most: number): number {
    return Math.max(1, Math.min(most, Math.floor(this.#perSecond / 10)));
  }

  /** Resolves when all that was spent has had its time. @throws when `signal` is aborted */
  async free(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const early = this.#freeAt - performance.now();
    if (early > 0) await delay(early, undefined, { signal });
  }

  spend(units: number): void {
    this.#freeAt = Math.max(this.#freeAt, performance.now()) + (units / this.#perSecond) * 1000;
  }
}
