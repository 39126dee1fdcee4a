export interface LoginThrottleOptions {
  /** Wrong tokens from one address within a window. */
  perAddress?: number;
  /** Wrong tokens from all addresses together; it also bounds what is remembered. */
  overall?: number;
  windowMs?: number;
  now?: () => number;
}

/** Slows down guessing of the admin token: after too many wrong ones an address waits until the window ends. */
export class LoginThrottle {
  readonly #perAddress: number;
  readonly #overall: number;
  readonly #windowMs: number;
  readonly #now: () => number;
  readonly #failures = new Map<string, number>();
  #total = 0;
  #windowEndsAt = 0;

  constructor({
    perAddress = 5,
    overall = 1000,
    windowMs = 60_000,
    now = Date.now,
  }: LoginThrottleOptions = {}) {
    this.#perAddress = perAddress;
    this.#overall = overall;
    this.#windowMs = windowMs;
    this.#now = now;
  }

  /** Milliseconds until `address` may try again; 0 when it may now. */
  waitMs(address: string): number {
    this.#turn();
    const blocked = this.#total >= this.#overall || (this.#failures.get(address) ?? 0) >= this.#perAddress;
    return blocked ? this.#windowEndsAt - this.#now() : 0;
  }

  failed(address: string): void {
    this.#turn();
    this.#failures.set(address, (this.#failures.get(address) ?? 0) + 1);
    this.#total++;
  }

  #turn(): void {
    if (this.#now() < this.#windowEndsAt) return;
    this.#failures.clear();
    this.#total = 0;
    this.#windowEndsAt = this.#now() + this.#windowMs;
  }
}
