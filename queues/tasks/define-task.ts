import type { z } from 'zod';
import type { Backoff } from '../../src/shared/schemas.ts';

export interface TaskDefaults {
  /** Attempts in all, the first included. */
  attempts: number;
  backoff: Backoff;
  /** Time one attempt may take; null = no bound. */
  timeoutMs: number | null;
}

/** What is known about a task wherever it is enqueued or run. Its handler lives with the workers. */
export interface Task<P extends z.ZodType = z.ZodType> {
  readonly name: string;
  readonly payload: P;
  readonly defaults: TaskDefaults;
}

/** The payload a task's handler gets. */
export type PayloadOf<T extends Task> = z.output<T['payload']>;

const DEFAULTS: TaskDefaults = {
  attempts: 3,
  backoff: { type: 'exponential', delayMs: 1000, maxDelayMs: 60_000, jitter: 0.5 },
  timeoutMs: null,
};

/** Defines a task: a name, a schema for its payload, and what holds for a job that does not say otherwise. */
export function defineTask<P extends z.ZodType>(definition: {
  name: string;
  payload: P;
  defaults?: Partial<TaskDefaults>;
}): Task<P> {
  const { name, payload, defaults } = definition;
  return { name, payload, defaults: { ...DEFAULTS, ...defaults } };
}
