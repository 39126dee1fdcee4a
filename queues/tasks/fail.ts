import { z } from 'zod';
import { defineTask } from './define-task.ts';

/** Fails with `message` in the first `times` attempts (every one unless given), then returns. */
export const fail = defineTask({
  name: 'fail',
  payload: z
    .strictObject({
      message: z.string().max(1000).default('failed on purpose'),
      times: z.int().min(0).max(100).optional(),
    })
    .prefault({}),
});
