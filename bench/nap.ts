import { z } from 'zod';
import { defineTask } from '../queues/tasks/define-task.ts';

/** A job that takes `ms`. */
export const nap = defineTask({
  name: 'nap',
  payload: z.object({ ms: z.number() }),
  defaults: { attempts: 1 },
});
