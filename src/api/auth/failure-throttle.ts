export interface FailureThrottleOptions {
  /** Failures of one address within a window. */
  perAddress: number;
  /** Failures of all addresses together, after which everybody waits; no limit unless given. */
  overall?: number;
  /** Addresses that are remembered; of more, the oldest are forgotten. */
  remembered?: number;
  windowMs?: number;
  now?: () => number;
}

/** Slows down guessing: after too many wrong tokens an address waits until the window ends. In this process alone. */
export class FailureThrottle {
  readonly perAddress: number;
  readonly windowMs: number;
  readonly #overall: number;
  readonly #remembered: number;
  readonly #now: () => number;
  readonly #failures = new Map<string, number>();
  #total = 0;
  #windowEndsAt = 0;

  constructor(options: FailureThrottleOptions) {
    this.perAddress = options.perAddress;
    this.windowMs = options.windowMs ?? 60_000;
    this.#overall = options.overall ?? Infinity;
    this.#remembered = options.remembered ?? 10_000;
    this.#now = options.now ?? Date.now;
  }

  /** Whether nobody failed of late: then nobody has to wait. */
  get isQuiet(): boolean {
    return this.#total === 0;
  }

  /** Milliseconds until `address` may try again; 0 when it may now. */
  waitMs(address: string): number {
    this.#turn();
    const blocked = this.#total >= this.#overall || (this.#failures.get(address) ?? 0) >= this.perAddress;
    return blocked ? this.#windowEndsAt - this.#now() : 0;
  }

  failed(address: string): void {
    this.#turn();
    this.#total++;
    this.#failures.set(address, (this.#failures.get(address) ?? 0) + 1);
    if (this.#failures.size <= this.#remembered) return;
    const [oldest] = this.#failures.keys();
    if (oldest !== undefined) this.#failures.delete(oldest);
  }

  #turn(): void {
    if (this.#now() < this.#windowEndsAt) return;
    this.#failures.clear();
    this.#total = 0;
    this.#windowEndsAt = this.#now() + this.windowMs;
  }
}
