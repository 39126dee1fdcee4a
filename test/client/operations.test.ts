import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { z } from 'zod';
import type { Engine } from '../../queues/engine.ts';
import { createApiMetrics } from '../../src/api/metrics.ts';
import { routeTable } from '../../src/api/route-table.ts';
import type { JobInput, WaggleClient } from '../../src/client/index.ts';
import type { Flow, Job, JobRequest } from '../../src/shared/schemas.ts';
import type { Tenant, Usage } from '../../src/shared/tenant-schemas.ts';
import { startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { allOf, watchedClient } from './support.ts';

/** What a client has no use for, and why. */
const LEFT_OUT: Record<string, string> = {
  livez: 'for the probes of an orchestrator',
  readyz: 'for the probes of an orchestrator',
  metrics: 'for Prometheus',
  openapi: 'for tools',
};

const JOB = 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC';

/** How each operation is called. Most objects do not exist here, which is as good a call as any. */
const CALLS: Record<string, (client: WaggleClient) => Promise<unknown>> = {
  enqueueJob: ({ jobs }) => jobs.create({ task: 'echo' }),
  enqueueJobs: ({ jobs }) => jobs.batch([{ task: 'echo' }, { task: 'none' }]),
  getJob: ({ jobs }) => jobs.get(JOB),
  listJobs: ({ jobs }) => jobs.page({ state: 'failed', limit: 10 }),
  cancelJob: ({ jobs }) => jobs.cancel(JOB, { reason: 'no' }),
  retryJob: ({ jobs }) => jobs.retry(JOB),
  promoteJob: ({ jobs }) => jobs.promote(JOB),
  changeJob: ({ jobs }) => jobs.change(JOB, { priority: 5 }),
  deleteJob: ({ jobs }) => jobs.remove(JOB),
  cancelJobs: ({ bulk }) => bulk.cancel({ filter: { tag: 'none' }, dryRun: true }),
  retryJobs: ({ bulk }) => bulk.retry({ filter: { tag: 'none' } }),
  listDeadLetters: ({ deadLetters }) => allOf(deadLetters.list({ queue: 'mail' })),
  redriveDeadLetters: ({ deadLetters }) => deadLetters.redrive({ dryRun: true }),
  explainJob: ({ jobs }) => jobs.why(JOB),
  followJob: ({ jobs }) => allOf(jobs.stream(JOB)),
  listJobLogs: ({ jobs }) => allOf(jobs.logs(JOB)),
  enqueueFlow: ({ flows }) => flows.create({ tree: { task: 'echo', children: [{ task: 'echo' }] } }),
  getFlow: ({ flows }) => flows.get(JOB),
  putTenant: ({ tenants }) => tenants.put('acme', { weight: 2 }),
  getTenant: ({ tenants }) => tenants.get('acme'),
  listTenants: ({ tenants }) => tenants.list(),
  deleteTenant: ({ tenants }) => tenants.remove('gone', { purge: true }),
  pauseTenant: ({ tenants }) => tenants.pause('acme', { untilMs: 1 }),
  resumeTenant: ({ tenants }) => tenants.resume('acme'),
  getTenantUsage: ({ tenants }) => tenants.usage('acme'),
  getOwnUsage: (client) => client.me(),
  createApiKey: ({ keys }) => keys.create('acme', { scopes: ['jobs:read'] }),
  listApiKeys: ({ keys }) => keys.list('acme'),
  revokeApiKey: ({ keys }) => keys.revoke('acme', 'none'),
  listQueues: ({ queues }) => queues.list(),
  getQueue: ({ queues }) => queues.get('mail'),
  putQueue: ({ queues }) => queues.put('mail', { maxRunning: 3 }),
  deleteQueue: ({ queues }) => queues.remove('mail'),
  listTasks: ({ tasks }) => tasks.list(),
  getTask: ({ tasks }) => tasks.get('echo'),
  putTask: ({ tasks }) => tasks.put('echo', { maxRunning: 3 }),
  deleteTask: ({ tasks }) => tasks.remove('echo'),
  listAudit: (client) => allOf(client.audit({ action: 'none' })),
};

/** Routes touch the engine only when they are called, and here none is. */
const routes = routeTable({ engine: {} as Engine }, createApiMetrics({} as Engine));

let api: Api;
beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
});
afterAll(() => api.stop());

test('the client has a method for every operation, or this says why not', () => {
  const operations = routes.map(({ operationId }) => operationId);
  expect([...Object.keys(CALLS), ...Object.keys(LEFT_OUT)].sort()).toEqual(operations.sort());
});

test.each(Object.entries(CALLS))(
  '%s is called as it is documented, and its answer fits',
  async (id, call) => {
    const route = routes.find(({ operationId }) => operationId === id);
    const { client, sent } = watchedClient(api);
    const answer = await call(client).catch((error: unknown) => {
      expect(error).toMatchObject({ name: 'WaggleError', code: 'not_found', status: 404 });
      return undefined;
    });
    const pattern = new RegExp(`^${route?.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
    expect(sent).toEqual([
      {
        method: route?.method.toUpperCase(),
        path: expect.stringMatching(pattern),
        headers: expect.anything(),
      },
    ]);
    // Lists are given as they are, without what is around them.
    if (answer === undefined || answer === null || Array.isArray(answer)) return;
    const schemas = Object.values(route?.responses ?? {}).flatMap(({ schema }) => schema ?? []);
    expect(schemas.some((schema) => schema.safeParse(answer).success)).toBe(true);
  },
);

test('types are those of the schemas', () => {
  type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
  type Answer<F extends (...args: never[]) => Promise<unknown>> = Awaited<ReturnType<F>>;
  const same: [
    Same<JobInput, z.input<typeof JobRequest>>,
    Same<Answer<WaggleClient['jobs']['get']>, Job>,
    Same<Answer<WaggleClient['jobs']['waitFor']>, Job>,
    Same<Answer<WaggleClient['flows']['get']>, Flow>,
    Same<Answer<WaggleClient['tenants']['put']>, Tenant>,
    Same<Answer<WaggleClient['me']>, Usage>,
  ] = [true, true, true, true, true, true];
  expect(same).toHaveLength(6);

  const refused = (client: WaggleClient): unknown[] => [
    // @ts-expect-error a job has a task
    client.jobs.create({ payload: 1 }),
    // @ts-expect-error a field nobody knows
    client.jobs.create({ task: 'echo', prio: 1 }),
    // @ts-expect-error no such state
    client.jobs.page({ state: 'done' }),
    // @ts-expect-error what a flow refuses
    client.flows.create({ tree: { task: 'echo', dedupe: { id: 'x' } } }),
    // @ts-expect-error no such scope
    client.keys.create('acme', { scopes: ['everything'] }),
  ];
  expect(refused).toBeInstanceOf(Function);
});
