import { z } from 'zod';
import { MAX_TIMEOUT_MS } from '../../src/shared/limits.ts';
import { defineTask } from './define-task.ts';

/** Waits `ms` milliseconds; ends at once when it is aborted. */
export const sleep = defineTask({
  name: 'sleep',
  payload: z.strictObject({ ms: z.int().min(0).max(MAX_TIMEOUT_MS) }),
});
