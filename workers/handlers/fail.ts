import { fail } from '../../queues/tasks/fail.ts';
import { TaskError } from '../runtime/task-error.ts';
import { handle } from './registry.ts';

export const failHandler = handle(fail, (ctx) => {
  const { message, times = Infinity } = ctx.job.payload;
  if (ctx.attempt <= times) throw new TaskError('task_failed', message, { retryable: true });
  return { attempts: ctx.attempt };
});
