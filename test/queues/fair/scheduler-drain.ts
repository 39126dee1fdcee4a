import { snapshot } from './keyspace.ts';
import { HOUR_MS } from './job-moves.ts';
import { GROUPS, QUEUES } from './scheduler-program.ts';
import type { Operation } from './scheduler-program.ts';
import type { Shard } from './scheduler-shard.ts';
import type { Walk } from './scheduler-walk.ts';

type Step = (operation: Operation) => Promise<void>;

/** Rounds after which a scheduler that still has jobs is stuck. */
const ROUNDS = 300;

/**
 * The faults end: no limits, no pauses, every worker at its work. Everything must come to an end then, and nothing may
 * be left of it.
 * @throws Error that says what does not end, or what is left
 */
export async function drain(walk: Walk, shard: Shard, step: Step): Promise<void> {
  const at = { shard: 0 };
  for (const queue of QUEUES) {
    await step({ ...at, op: 'resume', queue });
    await step({ ...at, op: 'concurrency', queue, limit: null });
  }
  for (const group of GROUPS) await step({ ...at, op: 'limit', group, limits: null });
  for (let round = 0; !isDone(walk); round += 1) {
    if (round > ROUNDS) throw new Error(`these do not end: ${JSON.stringify(endless(walk))}`);
    for (const queue of QUEUES) await endSome(walk, queue, step);
  }
  for (const queue of QUEUES) {
    await step({ ...at, op: 'sweep', queue });
    // A look at what was lost; without work nobody takes one.
    await step({ ...at, op: 'pick', queue, worker: 0, woken: false, skewMs: 0 });
  }
  await step({ ...at, op: 'advance', ms: 3000 * HOUR_MS });
  const keys = [...(await snapshot(shard.lab.redis, `${shard.lab.prefix}:`)).keys()];
  const left = keys.filter((key) => key.includes(':fair:') && !/::fair:(queues|repaired)$/.test(key));
  if (left.length > 0) throw new Error(`when all is done these are left: ${JSON.stringify(left)}`);
}

async function endSome({ model }: Walk, queue: string, step: Step): Promise<void> {
  const at = { shard: 0 };
  const active = model.in(queue, 'active');
  if (active.some((job) => !job.isLocked || job.hash === 'gone')) {
    for (const [nth, job] of model.all('active').entries())
      if (job.hash === 'gone') await step({ ...at, op: 'lose-lock', nth });
    await step({ ...at, op: 'check-stalled', queue });
    await step({ ...at, op: 'check-stalled', queue });
  } else if (active.length > 0) {
    const nth = model.all('active').indexOf(active[0] as never);
    await step({ ...at, op: 'complete', nth, fetch: true });
  } else if (model.in(queue, 'waiting', 'delayed').length > 0) {
    await step({ ...at, op: 'pick', queue, worker: 0, woken: true, skewMs: 3 * HOUR_MS });
  } else if (model.in(queue, 'superseded').length > 0) {
    await step({ ...at, op: 'sweep', queue });
  } else if (model.in(queue, 'lost').length > 0) {
    await step({ ...at, op: 'repair', queue });
  }
}

/** A parent whose child was deleted behind everybody's back waits for ever. */
const endless = ({ model }: Walk): { id: string; state: string }[] =>
  [...model.jobs.values()].filter((job) => job.state !== 'children').map(({ id, state }) => ({ id, state }));

const isDone = (walk: Walk): boolean => endless(walk).length === 0;
