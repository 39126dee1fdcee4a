import { createLocalJWKSet, errors } from 'jose';
import type { CryptoKey, FlattenedJWSInput, JSONWebKeySet, JWSHeaderParameters } from 'jose';
import { WaggleError } from '../../shared/errors.ts';

/** How long a request may wait for the issuer. */
const TIMEOUT_MS = 2000;
const MAX_BYTES = 256 * 1024;
/** From this age on the set is fetched anew, beside the requests that go on with it. */
const FRESH_MS = 600_000;
/**
 * An issuer that does not answer is asked again after so long. Nor is it asked more often for a key that is not in the
 * set: anybody can invent the name of one.
 */
const COOLDOWN_MS = 30_000;
/** The same while there is no set at all. */
const RETRY_MS = 1000;

type FindKey = (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>;

export interface JwksOptions {
  url: string;
  now?: () => number;
}

/**
 * The public keys of an issuer of tokens. They are fetched at the first use and kept: refreshed beside the requests,
 * asked for again when a token names an unknown one, and used on for as long as the issuer does not answer.
 */
export class Jwks {
  readonly #url: string;
  readonly #now: () => number;
  #find: FindKey | null = null;
  #fetchedAt = -Infinity;
  #triedAt = -Infinity;
  #missedAt = -Infinity;
  #fetching: Promise<void> | null = null;

  constructor({ url, now = Date.now }: JwksOptions) {
    this.#url = url;
    this.#now = now;
  }

  /**
   * The key that signed a token, by its header.
   * @throws JWKSNoMatchingKey and others of jose when the issuer has no such key
   * @throws WaggleError redis_unavailable (503) when there has never been a set
   */
  readonly key: FindKey = async (header, token) => {
    const find = await this.#current();
    try {
      return await find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      if (this.#now() - this.#missedAt < COOLDOWN_MS) throw error;
      this.#missedAt = this.#now();
      await this.#refresh();
      return (this.#find ?? find)(header, token);
    }
  };

  async #current(): Promise<FindKey> {
    if (this.#find === null) {
      if (this.#fetching !== null || this.#mayTry(RETRY_MS)) await this.#refresh();
      if (this.#find === null) throw unavailable();
    } else if (this.#now() - this.#fetchedAt >= FRESH_MS && this.#mayTry(COOLDOWN_MS)) {
      void this.#refresh();
    }
    return this.#find;
  }

  #mayTry(afterMs: number): boolean {
    return this.#now() - this.#triedAt >= afterMs;
  }

  /** Resolves in any case: what was there stays when the issuer has nothing better. */
  #refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => (this.#fetching = null));
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    this.#triedAt = this.#now();
    try {
      this.#find = createLocalJWKSet(await fetchSet(this.#url));
      this.#fetchedAt = this.#now();
    } catch {
      // Whoever needs a key that is not there says so.
    }
  }
}

async function fetchSet(url: string): Promise<JSONWebKeySet> {
  const response = await fetch(url, {
    headers: { Accept: 'application/jwk-set+json, application/json' },
    redirect: 'error',
    // Also ends a body that never does.
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status !== 200 || response.body === null) throw new Error(`status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_BYTES) throw new Error(`more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as JSONWebKeySet;
}

/** The catalogue has one code for a service behind this one that is away; the detail says which. */
function unavailable(): WaggleError {
  return new WaggleError(
    'redis_unavailable',
    'The keys of the issuer of tokens cannot be fetched at the moment.',
    {
      retryAfterMs: RETRY_MS,
    },
  );
}
