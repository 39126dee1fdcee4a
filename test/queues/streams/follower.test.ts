import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createLogger } from '../../../src/shared/logger.ts';
import { JobEvents } from '../../../queues/jobs/job-events.ts';
import { JobReader } from '../../../queues/jobs/reader.ts';
import { Waiters } from '../../../queues/jobs/waiters.ts';
import { Follower } from '../../../queues/streams/follower.ts';
import { parsePosition } from '../../../queues/streams/position.ts';
import { Watches } from '../../../queues/streams/watches.ts';
import { connectReader } from '../../../queues/topology/connections.ts';
import { eventually } from '../../support/eventually.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';
import { latch } from '../support/latch.ts';

const logger = createLogger({ level: 'silent', name: 'test' });

/** Reads jobs after something has happened to them, once. */
class LateReader extends JobReader {
  before: () => Promise<void> = () => Promise.resolve();
  #happened: Promise<void> | undefined;

  override async find(...job: Parameters<JobReader['find']>): ReturnType<JobReader['find']> {
    await (this.#happened ??= this.before());
    return super.find(...job);
  }
}

let engine: TestEngine;
let events: JobEvents;
let waiters: Waiters;
let watches: Watches;

beforeAll(async () => {
  engine = await openTestEngine();
  const { topology, redisUrl } = engine;
  events = new JobEvents({ topology, logger, connect: () => connectReader(redisUrl, logger) });
  waiters = new Waiters({ topology, logger, events });
  watches = new Watches({ topology, events, waiters });
});
afterAll(async () => {
  waiters.close();
  await events.close();
  await engine.close();
});

test.each(['0-0', '0-0~1.delayed.0', '0-0~2.waiting.0'])(
  'after %s tells no state of before the job was read',
  async (after) => {
    const { topology, jobs } = engine;
    const goOn = latch();
    const worker = engine.work('acme', () => goOn.opened);
    const { id } = await jobs.enqueue('acme', { task: 'work', delayMs: 3_600_000 }, context);
    const reader = new LateReader(topology);
    // Whoever follows the job by then hears of this as well.
    reader.before = async () => {
      await (await topology.queue(topology.shardOf('acme'), 'default').getJob(id))?.promote();
      await eventually('it runs', async () => (await jobs.get('acme', id)).state === 'active');
    };
    const follower = new Follower({ topology, reader, watches }, 'acme', id, parsePosition(after));
    const told: string[] = [];
    for await (const event of follower.events(new AbortController().signal)) {
      if (event.event === 'state') told.push(event.data.state);
      goOn.open();
    }
    expect(told).toEqual(['active', 'completed']);
    await worker.close();
  },
);
