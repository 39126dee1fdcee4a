import { createServer } from 'node:net';

/** Below those that the system gives away by itself, so that nobody takes one between its choice and its use. */
const LOWEST = 12_000;
const OF_EACH_WORKER = 1000;

const first = LOWEST + Number(process.env['JEST_WORKER_ID'] ?? '1') * OF_EACH_WORKER;
let next = first + Math.floor(Math.random() * (OF_EACH_WORKER - 100));

/** A port that nobody listens on, and that is given to no other test. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = next;
    next += 1;
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
