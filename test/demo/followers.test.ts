import { afterEach, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WaggleClient } from '../../src/client/index.ts';
import { SampleFollower } from '../../src/demo/followers.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

interface Counts {
  started: number;
  finished: number;
}

/** A server that knows `total` jobs, of which the first `counts.started` have started and so on; counts its calls. */
async function jobsInOrder(counts: Counts): Promise<{ client: WaggleClient; calls: () => number }> {
  let calls = 0;
  const server = createServer((req, res) => {
    calls += 1;
    const index = Number(req.url?.split('/').at(-1));
    const at = (ms: number): string => new Date(ms).toISOString();
    res.setHeader('content-type', 'application/json').end(
      JSON.stringify({
        createdAt: at(0),
        startedAt: index < counts.started ? at(index) : null,
        finishedAt: index < counts.finished ? at(index + 1) : null,
      }),
    );
  });
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { client: new WaggleClient({ baseUrl: url, token: 'token' }), calls: () => calls };
}

test('the sample finds the counts of many jobs by a few look-ups, and wait times evenly', async () => {
  const counts: Counts = { started: 0, finished: 0 };
  const { client, calls } = await jobsInOrder(counts);
  const ids = Array.from({ length: 5000 }, (_, index) => String(index));
  const follower = new SampleFollower(client, ids, 25, {});

  const steps: Counts[] = [
    { started: 0, finished: 0 },
    { started: 20, finished: 0 },
    { started: 421, finished: 401 },
    { started: 4999, finished: 4979 },
    { started: 5000, finished: 5000 },
  ];
  for (const step of steps) {
    Object.assign(counts, step);
    const standing = await follower.look();
    expect(standing).toMatchObject({
      waiting: 5000 - step.started,
      running: step.started - step.finished,
      done: step.finished,
      sampled: true,
    });
    expect(standing.times).toHaveLength(Math.ceil(Math.max(0, step.started - 12) / 25));
  }
  expect(calls()).toBeLessThan(400);
});
