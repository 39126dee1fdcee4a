import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { taskRegistry } from '../../../queues/tasks/registry.ts';
import { openBuiltInHandlers } from '../../../workers/handlers/built-in.ts';
import { createHandlerRegistry, handle } from '../../../workers/handlers/registry.ts';

const greet = defineTask({ name: 'greet', payload: z.object({ name: z.string() }) });

test('a handler gets the payload its task defines', () => {
  handle(greet, (ctx) => ctx.job.payload.name.toUpperCase());
  // @ts-expect-error -- the task has no such field
  handle(greet, (ctx) => ctx.job.payload.age);
});

test('two handlers for one task are a mistake', () => {
  const one = handle(greet, () => 1);
  expect(() => createHandlerRegistry([one, one])).toThrow('greet');
});

test('every built-in task has a handler, and no handler is without a task', async () => {
  const handlers = openBuiltInHandlers({
    allowPrivateTargets: false,
    bulk: { run: () => Promise.reject(new Error('not run here')) },
    tracing: null,
  });
  expect([...handlers.registry.keys()].sort()).toEqual([...taskRegistry.keys()].sort());
  await handlers.close();
});
