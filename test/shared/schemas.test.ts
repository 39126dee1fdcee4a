import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import { AuditQuery } from '../../src/shared/audit-schemas.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import * as jobSchemas from '../../src/shared/schemas.ts';
import { LogQuery } from '../../src/shared/stream-schemas.ts';
import * as tenantSchemas from '../../src/shared/tenant-schemas.ts';
import { parse } from '../../src/shared/validate.ts';

const schemas = { ...jobSchemas, ...tenantSchemas };
const { FlowRequest, FlowTree, JobListQuery, JobRequest, TenantSettings } = schemas;

function faults(schema: z.ZodType, value: unknown): { path: string; message: string }[] {
  try {
    parse(schema, value);
    return [];
  } catch (error) {
    if (error instanceof WaggleError) return error.errors ?? [];
    throw error;
  }
}

test('the job of the contract is taken, all of its fields together', () => {
  const request = {
    task: 'echo',
    payload: { any: 'json' },
    queue: 'default',
    priority: 0,
    delayMs: 0,
    runAt: '2026-12-01T00:00:00Z',
    attempts: 3,
    backoff: { type: 'exponential', delayMs: 1000, maxDelayMs: 60000, jitter: 0.5 },
    timeoutMs: 30000,
    ttlMs: 3600000,
    tags: ['a'],
    correlationId: 'abc',
    key: 'session-42',
    keyStrategy: 'queue',
    keyLimit: 1,
    cost: 2.5,
    dedupe: { id: 'x', ttlMs: 5000, mode: 'first' },
    retainMs: { completed: 86400000, failed: 604800000 },
  };
  expect(parse(JobRequest, request)).toEqual(request);
});

test('a flow of other than a tree is refused as not available yet', () => {
  expect(faults(FlowRequest, { tree: { task: 'echo' }, chain: [] })).toEqual([
    { path: 'chain', message: 'is not available yet' },
  ]);
});

test('dedupe has an id, a mode of its own, and with debounce a time', () => {
  const dedupe = (value: unknown): unknown => faults(JobRequest, { task: 'echo', dedupe: value });
  expect(parse(JobRequest, { task: 'echo', dedupe: { id: 'x' } }).dedupe).toEqual({ id: 'x', mode: 'first' });
  for (const value of [
    'x',
    {},
    { id: '' },
    { id: 'x'.repeat(257) },
    { id: 'x', mode: 'all' },
    { id: 'x', ttlMs: 0 },
  ])
    expect(dedupe(value)).not.toEqual([]);
  expect(dedupe({ id: 'x', mode: 'debounce' })).toEqual([
    { path: 'dedupe.ttlMs', message: 'is required with debounce' },
  ]);
});

test.each(['keyLimit', 'keyStrategy'])('%s needs a key', (field) => {
  const value = field === 'keyLimit' ? 2 : 'reject';
  expect(faults(JobRequest, { task: 'echo', [field]: value })).toEqual([
    { path: field, message: 'needs a key' },
  ]);
  expect(faults(JobRequest, { task: 'echo', key: 'k', [field]: value })).toEqual([]);
});

test('what holds of keys anyway needs none', () => {
  const node = { task: 'echo', keyLimit: 1, keyStrategy: 'queue' };
  expect(parse(JobRequest, node)).toEqual(node);
  expect(faults(FlowTree, { ...node, children: [node] })).toEqual([]);
});

test('a node of a flow cannot be refused for its key, since the others would be in by then', () => {
  const node = { task: 'echo', key: 'k', keyStrategy: 'reject' };
  expect(faults(FlowTree, { task: 'echo', children: [node] })).toEqual([
    { path: 'children.0.keyStrategy', message: 'cannot be reject in a flow' },
  ]);
});

test('the whole of a tenant is accepted, and what is left out has no limit', () => {
  const settings = {
    weight: 2,
    maxRunning: 3,
    rate: { limit: 50, periodMs: 1000, burst: 10 },
    maxWaiting: 1000,
    chargeRunMs: 1000,
    paused: false,
    queues: { mail: { weight: 3, maxRunning: 1, rate: null } },
  };
  expect(parse(TenantSettings, settings)).toEqual(settings);
  expect(parse(TenantSettings, {})).toEqual({
    weight: 1,
    maxRunning: null,
    rate: null,
    chargeRunMs: null,
    maxWaiting: null,
    paused: false,
    queues: {},
  });
});

test('each unknown field is named where it stands, in a tree too', () => {
  expect(faults(JobRequest, { task: 'echo', a: 1, b: 2 })).toEqual([
    { path: 'a', message: 'is not a known field' },
    { path: 'b', message: 'is not a known field' },
  ]);
  expect(faults(FlowRequest, { tree: { task: 'echo', children: [{ task: 'echo', x: 1 }] } })).toEqual([
    { path: 'tree.children.0.x', message: 'is not a known field' },
  ]);
  expect(faults(FlowRequest, { chain: [] }).map((fault) => fault.path)).toEqual(['tree', 'chain']);
});

test.each<[object, string]>([
  [{}, 'task'],
  [{ task: 'Echo' }, 'task'],
  [{ task: 'echo', priority: 10 }, 'priority'],
  [{ task: 'echo', priority: 1.5 }, 'priority'],
  [{ task: 'echo', delayMs: -1 }, 'delayMs'],
  [{ task: 'echo', delayMs: 1e300 }, 'delayMs'],
  [{ task: 'echo', runAt: 'tomorrow' }, 'runAt'],
  [{ task: 'echo', runAt: '2030-01-01' }, 'runAt'],
  [{ task: 'echo', runAt: '9999-01-01T00:00:00Z' }, 'runAt'],
  [{ task: 'echo', runAt: '9999-01-01T00:00:00Z', delayMs: 0 }, 'runAt'],
  [{ task: 'echo', runAt: '2030-01-01T00:00:00Z', delayMs: 1 }, 'runAt'],
  [{ task: 'echo', attempts: 0 }, 'attempts'],
  [{ task: 'echo', tags: ['x'.repeat(65)] }, 'tags.0'],
  [{ task: 'echo', tags: Array.from({ length: 21 }, () => 'x') }, 'tags'],
  [{ task: 'echo', correlationId: 'a b' }, 'correlationId'],
  [{ task: 'echo', queue: 'tenant' }, 'queue'],
  [{ task: 'echo', queue: 'a:b' }, 'queue'],
  [{ task: 'echo', backoff: { type: 'wild' } }, 'backoff.type'],
  [{ task: 'echo', retainMs: { completed: -1 } }, 'retainMs.completed'],
])('%j is at fault in %s', (request, path) => {
  expect(faults(JobRequest, request).map((fault) => fault.path)).toContain(path);
});

test('a query counts in text', () => {
  expect(parse(JobListQuery, { limit: '5', state: 'waiting' })).toEqual({ limit: 5, state: 'waiting' });
  expect(parse(JobListQuery, {})).toEqual({ limit: 50 });
});

test.each([
  [JobListQuery, 200],
  [AuditQuery, 200],
  [LogQuery, 1000],
])('a page that is too short or too long is refused with what it may hold', (schema, most) => {
  for (const limit of ['', '0', String(most + 1), '1.5', 'x', '-1', '1e400']) {
    const message = `must be a whole number from 1 to ${most}`;
    expect(faults(schema, { limit })).toEqual([{ path: 'limit', message }]);
  }
  for (const limit of ['1', String(most)]) expect(parse(schema, { limit })).toEqual({ limit: Number(limit) });
});

test('whatever comes in, the answer is a value or a validation error', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      for (const schema of [
        JobRequest,
        FlowRequest,
        TenantSettings,
        schemas.ApiKeyRequest,
        schemas.BatchItems,
      ]) {
        expect(() => faults(schema, value)).not.toThrow();
      }
    }),
  );
});

test('nesting deep enough to break a recursive reader is a validation error', () => {
  let tree: object = { task: 'echo' };
  for (let i = 0; i < 50_000; i += 1) tree = { task: 'echo', children: [tree] };
  expect(faults(FlowRequest, { tree })).toHaveLength(1);
});

test('every wire schema has a JSON Schema', () => {
  const named = Object.entries(schemas).filter(
    ([name, one]) => /^[A-Z]/.test(name) && one instanceof z.ZodType,
  );
  expect(named.length).toBeGreaterThan(20);
  for (const [, schema] of named) {
    expect(() => z.toJSONSchema(schema as z.ZodType, { io: 'input' })).not.toThrow();
  }
});
