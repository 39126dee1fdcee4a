import { WaggleError } from '../../shared/errors.ts';

export interface RequestRateOptions {
  /** Requests per second and credential; more than 0. */
  rate: number;
  /** Requests that may come at once after a quiet time. */
  burst: number;
  /** Credentials that are remembered; of more, those that were quiet longest are forgotten. */
  remembered?: number;
  now?: () => number;
}

/** A token bucket for each credential (as GCRA: one number each), in this process alone. */
export class RequestRate {
  readonly #rate: number;
  readonly #burst: number;
  readonly #remembered: number;
  readonly #now: () => number;
  /** When the bucket will be full again, in ms. Those quiet longest come first. */
  readonly #fullAt = new Map<string, number>();

  constructor({ rate, burst, remembered = 10_000, now = () => performance.now() }: RequestRateOptions) {
    this.#rate = rate;
    this.#burst = burst;
    this.#remembered = remembered;
    this.#now = now;
  }

  /** Takes a token of the credential. @throws WaggleError rate_limited; nothing is taken then */
  take(credential: string): void {
    const now = this.#now();
    const every = 1000 / this.#rate;
    const fullAt = Math.max(now, this.#fullAt.get(credential) ?? 0) + every;
    const waitMs = fullAt - every * this.#burst - now;
    if (waitMs > 0) throw this.#tooMany(waitMs);
    this.#fullAt.delete(credential);
    this.#fullAt.set(credential, fullAt);
    if (this.#fullAt.size <= this.#remembered) return;
    const [quietest] = this.#fullAt.keys();
    if (quietest !== undefined) this.#fullAt.delete(quietest);
  }

  #tooMany(waitMs: number): WaggleError {
    return new WaggleError(
      'rate_limited',
      `More than ${this.#rate} requests per second with this credential.`,
      {
        retryAfterMs: waitMs,
        quota: { policy: 'api-rate', limit: this.#rate, remaining: 0, windowMs: 1000 },
      },
    );
  }
}
