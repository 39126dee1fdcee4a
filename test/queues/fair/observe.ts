import { expect } from '@jest/globals';
import { inLab, normal } from './bullmq-lab.ts';
import type { Flavour, Lab } from './bullmq-lab.ts';
import { adding } from './cases/adding.ts';
import type { Case } from './cases/case.ts';
import { overview } from './cases/case.ts';
import { flows } from './cases/flows.ts';
import { keeping } from './cases/keeping.ts';
import { running } from './cases/running.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

/** The cases of the conformance suite by what they are about. */
export const allCases = [
  ['adding', adding],
  ['running', running],
  ['flows', flows],
  ['keeping', keeping],
] as const;

/** Timing decides about these keys and events, or (prefix::fair) only the fair backend has them. */
const VOLATILE_KEYS =
  /:(marker|stalled-check|stalled|wait|prioritized|pc|metrics:(completed|failed):data|fair:[^]*)$/;
const TIMED = new Set([
  'promote and changeDelay',
  'deduplication: simple, with ttl, extended, replaced',
  'a stalled job comes back',
  'a job that stalls more often than allowed',
  'schedulers: every, immediately, template, limit, remove',
  'schedulers: an update replaces the waiting job',
  'schedulers named like lists',
  'jobs that come while a worker waits',
  'drain, without and with delayed jobs',
  'delayed jobs run when they are due',
  'a limiter of the worker',
  'a retry with backoff is delayed',
  'more than a thousand due jobs',
  'retryJobs',
  'moveToDelayed and moveToWait from a processor',
  'removal of a parent, of a child, of a dependency',
]);

/** Runs a case and adds what can be seen of every queue it used: counts, jobs by state, events, remaining keys. */
export async function observe(
  flavour: Flavour,
  name: string,
  run: Case,
  redisUrl?: string,
): Promise<unknown> {
  const body = async (lab: Lab): Promise<unknown> => {
    const returned = await run(lab);
    const queues: Record<string, unknown> = {};
    for (const queueName of [...lab.queueNames].sort()) {
      queues[queueName] = TIMED.has(name) ? undefined : await leftovers(lab, queueName);
      const state = await fairState(lab.redis, `${lab.prefix}:${queueName}:`);
      expect(brokenInvariants(state)).toEqual([]);
    }
    return JSON.parse(normal(JSON.stringify({ returned, queues }))) as unknown;
  };
  return inLab(flavour, body, redisUrl);
}

async function leftovers(lab: Lab, queueName: string): Promise<unknown> {
  const queue = lab.queue(queueName);
  return {
    overview: await overview(queue),
    events: await lab.events(queueName),
    keys: (await lab.keys(queueName)).filter((key) => !VOLATILE_KEYS.test(key)),
  };
}
