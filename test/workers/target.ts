import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Hit {
  /** The path, by which a test tells whose request it was. */
  path: string;
  /** When it came, in ms since 1970. */
  at: number;
}

/** An HTTP server that watches how jobs call it. */
export interface Target {
  readonly url: string;
  readonly port: number;
  /** Every request so far, in order. */
  readonly hits: readonly Hit[];
  /** Requests without an answer whose caller is still there. */
  open(): number;
  /** The most that were ever open at once. */
  peak(): number;
  /** Answers no more requests of this path, nor those that are open, until released. */
  hold(path: RegExp): void;
  release(): void;
  close(): Promise<void>;
}

/** Starts a target that answers 204 after `answerMs`. */
export async function openTarget(answerMs = 0): Promise<Target> {
  const hits: Hit[] = [];
  const held = new Set<() => void>();
  let holding: RegExp | null = null;
  let open = 0;
  let peak = 0;
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    hits.push({ path, at: Date.now() });
    open += 1;
    peak = Math.max(peak, open);
    let ended = false;
    const end = (): void => {
      if (!ended) open -= 1;
      ended = true;
    };
    // The caller is told after it has been counted out: its next request cannot come before.
    const answer = (): void => {
      if (holding?.test(path)) return void held.add(answer);
      end();
      response.writeHead(204).end();
    };
    // Also when the caller dies.
    response.once('close', () => {
      held.delete(answer);
      end();
    });
    setTimeout(answer, answerMs);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    hits,
    open: () => open,
    peak: () => peak,
    hold(path) {
      holding = path;
    },
    release() {
      holding = null;
      for (const answer of [...held]) answer();
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The most of these times, in ms and in order, that fall into any span of `spanMs`. */
export function mostWithin(times: readonly number[], spanMs: number): number {
  let most = 0;
  let first = 0;
  for (const [last, time] of times.entries()) {
    while (time - (times[first] ?? 0) >= spanMs) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

/**
 * The best of up to three tries, of which one that is good enough is the last. For what is used up of a rate: tokens that
 * nobody takes in time are lost, and a machine may stand still in the middle of one try. A limit that is too tight is so in each.
 */
export async function bestOfThree(enough: number, attempt: () => Promise<number>): Promise<number> {
  let best = -Infinity;
  for (let tries = 0; tries < 3 && best < enough; tries += 1) best = Math.max(best, await attempt());
  return best;
}
