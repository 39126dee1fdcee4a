import type { Queue } from 'bullmq';
import { normal } from '../bullmq-lab.ts';
import type { Lab } from '../bullmq-lab.ts';

/** Drives queues in a lab and returns what an application can observe. */
export type Case = (lab: Lab) => Promise<unknown>;

export const STATES = [
  'wait',
  'prioritized',
  'active',
  'delayed',
  'waiting-children',
  'completed',
  'failed',
] as const;

/** These are ordered by the moment of the change, and jobs of one millisecond by id, so their order is chance. */
const ORDERED_BY_TIME = new Set<string>(['waiting-children', 'completed', 'failed']);

/** What the getters say about a queue: counts, and every state in both directions. */
export async function overview(queue: Queue): Promise<unknown> {
  const counts = await queue.getJobCounts();
  const jobs: Record<string, unknown> = {};
  for (const state of STATES) {
    const names = async (ascending: boolean) => {
      const found = await queue.getJobs([state], 0, -1, ascending);
      const lines = found.map(
        (job) => `${normal(job.id ?? '')} ${job.name} ${job.attemptsMade}/${job.attemptsStarted}`,
      );
      return ORDERED_BY_TIME.has(state) ? lines.sort() : lines;
    };
    jobs[state] = [await names(true), await names(false)];
  }
  return { counts, jobs, paused: await queue.isPaused() };
}

/** Runs `action` and returns its result or its error message. */
export async function attempt(action: () => Promise<unknown>): Promise<unknown> {
  try {
    return (await action()) ?? 'nothing';
  } catch (error) {
    return `error: ${normal(error instanceof Error ? error.message : String(error))}`;
  }
}

export const named = (...names: string[]) => names.map((name) => ({ name, data: { name } }));
