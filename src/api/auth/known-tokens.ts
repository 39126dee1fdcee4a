import { hash } from 'node:crypto';

const REMEMBERED = 10_000;

/**
 * Tokens that were valid the last time, as hashes. Their callers go on when others at the same address (behind the same
 * proxy) have sent too many wrong ones.
 */
export class KnownTokens {
  /** Those not seen longest come first. */
  readonly #hashes = new Set<string>();

  has(token: string): boolean {
    return this.#hashes.has(hashOf(token));
  }

  add(token: string): void {
    const hash = hashOf(token);
    this.#hashes.delete(hash);
    this.#hashes.add(hash);
    if (this.#hashes.size <= REMEMBERED) return;
    const [oldest] = this.#hashes;
    if (oldest !== undefined) this.#hashes.delete(oldest);
  }

  forget(token: string): void {
    this.#hashes.delete(hashOf(token));
  }
}

function hashOf(token: string): string {
  return hash('sha256', token, 'base64');
}
