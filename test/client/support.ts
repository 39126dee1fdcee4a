import { ADMIN_TOKEN } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { WaggleClient } from '../../src/client/client.ts';
import type { ClientOptions } from '../../src/client/transport.ts';

export interface Sent {
  method: string;
  path: string;
  headers: Headers;
}

export interface WatchedClient {
  client: WaggleClient;
  /** Every request it made. */
  sent: Sent[];
}

type Fetch = typeof globalThis.fetch;

/**
 * A client whose requests are seen.
 * @param change what becomes of the n-th request, from 0 on; left out, or undefined, it goes to the API as it is
 */
export function watchedClient(
  api: Api,
  options: Partial<ClientOptions> = {},
  change?: (
    n: number,
    go: () => ReturnType<Fetch>,
    signal: AbortSignal | null | undefined,
  ) => ReturnType<Fetch> | undefined,
): WatchedClient {
  const sent: Sent[] = [];
  const watched: Fetch = (url, init) => {
    const { pathname } = new URL(url);
    sent.push({ method: init?.method ?? 'GET', path: pathname, headers: new Headers(init?.headers) });
    const go = (): ReturnType<Fetch> => fetch(url, init);
    return change?.(sent.length - 1, go, init?.signal) ?? go();
  };
  const client = new WaggleClient({
    baseUrl: api.url,
    token: ADMIN_TOKEN,
    tenant: 'acme',
    fetch: watched,
    ...options,
  });
  return { client, sent };
}

export async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
