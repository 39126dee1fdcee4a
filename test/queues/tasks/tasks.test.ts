import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { createTaskRegistry, taskRegistry } from '../../../queues/tasks/registry.ts';

const accepts = (task: string, payload: unknown): boolean =>
  taskRegistry.get(task)?.payload.safeParse(payload).success ?? false;

test('the built-in tasks are there under their own names', () => {
  expect([...taskRegistry.keys()]).toEqual(['echo', 'sleep', 'fail', 'http.request', 'jobs.bulk']);
  for (const [name, task] of taskRegistry) expect(task.name).toBe(name);
});

test('two tasks of one name are refused', () => {
  const task = defineTask({ name: 'twice', payload: z.unknown() });
  expect(() => createTaskRegistry([task, task])).toThrow(/twice/);
});

test('defaults hold where a task says nothing', () => {
  const { defaults } = defineTask({ name: 'x', payload: z.unknown(), defaults: { attempts: 7 } });
  expect(defaults).toMatchObject({
    attempts: 7,
    backoff: { type: 'exponential', delayMs: 1000 },
    timeoutMs: null,
  });
});

test.each<[string, unknown, boolean]>([
  ['echo', undefined, true],
  ['echo', { any: 1 }, true],
  ['sleep', { ms: 0 }, true],
  ['sleep', { ms: 1.5 }, false],
  ['sleep', {}, false],
  ['fail', undefined, true],
  ['fail', { message: 'no', times: 2 }, true],
  ['fail', null, false],
  ['http.request', { url: 'https://example.com/x?y=1' }, true],
  ['http.request', { url: 'http://[::1]:80/' }, true],
  [
    'http.request',
    { url: 'https://example.com', method: 'POST', headers: { 'x-a': 'b' }, body: { a: 1 } },
    true,
  ],
  ['http.request', { url: 'ftp://example.com' }, false],
  ['http.request', { url: 'file:///etc/passwd' }, false],
  ['http.request', { url: 'javascript:alert(1)' }, false],
  ['http.request', { url: '/relative' }, false],
  ['http.request', { url: 'https://example.com', method: 'CONNECT' }, false],
  ['http.request', { url: 'https://example.com', headers: { 'a\r\nb': 'c' } }, false],
  ['http.request', { url: 'https://example.com', headers: { a: 'b\r\nc: d' } }, false],
])('%s takes %j: %p', (task, payload, expected) => {
  expect(accepts(task, payload)).toBe(expected);
});
