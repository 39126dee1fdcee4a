import { setTimeout as delay } from 'node:timers/promises';
import { sleep } from '../../queues/tasks/sleep.ts';
import { handle } from './registry.ts';

export const sleepHandler = handle(sleep, async (ctx) => {
  const { ms } = ctx.job.payload;
  await delay(ms, undefined, { signal: ctx.signal });
  return { sleptMs: ms };
});
