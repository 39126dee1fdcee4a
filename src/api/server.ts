import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { Server as NetServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { refuseInWords } from './http/refusals.ts';

/** A load balancer's idle time-out is 60 s as a rule; the server must not close first, or requests get lost. */
const KEEP_ALIVE_MS = 65_000;
const HEADERS_MS = 10_000;
const CONNECTIONS_CHECK_MS = 5_000;
/** A caller who takes nothing of its answer for so long is cut off. Longer than any wait, during which nothing is sent. */
const STALLED_MS = 120_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** How long a draining server stays to refuse, in words, what arrives on connections that are still open. */
const LINGER_MS = 1000;

export interface HttpServer {
  /** The port it listens on. */
  readonly port: number;
  /**
   * Stops accepting connections, lets running requests finish for up to `boundMs`, then closes what is left. Whoever
   * calls it has aborted the app's `draining` signal before, so that waiting requests end and new ones are refused.
   */
  drain(boundMs: number): Promise<void>;
}

/** Serves `app` on `port` (0 = a free one). Rejects when it cannot listen. */
export async function startServer(
  app: RequestListener,
  port: number,
  stalledMs = STALLED_MS,
): Promise<HttpServer> {
  const server = createServer(
    {
      headersTimeout: HEADERS_MS,
      // Whoever reads a body gives it its time: see http/body.ts.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      // The app asks for it, in a problem document.
      requireHostHeader: false,
    },
    app,
  );
  server.timeout = stalledMs;
  // Their size is bounded; of more than a thousand Node would leave out some.
  server.maxHeadersCount = 0;
  const running = trackRequests(server);
  // An expectation nobody knows may be ignored (RFC 9110, section 10.1.1); Node would answer without a problem document.
  server.on('checkExpectation', (req, res) => server.emit('request', req, res));
  refuseInWords(server, MAX_HEADER_BYTES);
  await listen(server, port);
  return {
    port: (server.address() as AddressInfo).port,
    drain: (boundMs) => drain(server, running, boundMs),
  };
}

interface RunningRequests {
  readonly count: number;
  /** Resolves when no request is running. */
  ended(): Promise<void>;
}

function trackRequests(server: Server): RunningRequests {
  let count = 0;
  let onEnded: (() => void)[] = [];
  server.on('request', (_req: IncomingMessage, res: ServerResponse) => {
    count++;
    res.once('close', () => {
      count--;
      if (count > 0) return;
      for (const ended of onEnded) ended();
      onEnded = [];
    });
  });
  return {
    get count() {
      return count;
    },
    ended: () => (count === 0 ? Promise.resolve() : new Promise((resolve) => onEnded.push(resolve))),
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function drain(server: Server, running: RunningRequests, boundMs: number): Promise<void> {
  // The http server's own close would also cut idle connections, whose next request is owed an answer.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  await Promise.race([closed, pause(LINGER_MS)]);
  await Promise.race([running.ended(), pause(boundMs - LINGER_MS)]);
  server.closeIdleConnections();
  server.closeAllConnections();
  await closed;
}

/** A pause that keeps no process alive. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)).unref());
}
