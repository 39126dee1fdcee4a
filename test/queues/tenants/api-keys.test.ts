import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';
import { eventually } from '../../support/eventually.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

test('a key verifies as what it was made, and its secret is nowhere in Redis', async () => {
  const key = await engine.apiKeys.create('acme', { scopes: ['jobs:read'], expiresAt: null });
  expect(key).toEqual({
    id: expect.stringMatching(/^key_[0-9a-f]{24}$/),
    secret: expect.stringMatching(/^wgk_[A-Za-z0-9_-]{43}$/),
    scopes: ['jobs:read'],
    expiresAt: null,
  });
  expect(await engine.apiKeys.verify(key.secret)).toEqual({
    keyId: key.id,
    tenant: 'acme',
    scopes: ['jobs:read'],
  });
  const { redis, keys } = engine.topology;
  const stored = await redis.hgetall(keys.apiKey(key.id));
  expect(JSON.stringify(stored)).not.toContain(key.secret.slice(4));
  expect(stored.sha256).toMatch(/^[0-9a-f]{64}$/);
});

test('what is no key, and a key nobody made, is nobody', async () => {
  const { secret } = await engine.apiKeys.create('acme', { scopes: ['jobs:read'], expiresAt: null });
  const other = secret.endsWith('A') ? `${secret.slice(0, -1)}B` : `${secret.slice(0, -1)}A`;
  for (const wrong of ['', 'wgk_', 'bearer', secret.slice(1), `${secret}x`, other, 'x'.repeat(1_000_000)]) {
    expect(await engine.apiKeys.verify(wrong)).toBeNull();
  }
});

test('a stored hash that only begins alike is not taken', async () => {
  const { id, secret } = await engine.apiKeys.create('acme', { scopes: ['jobs:read'], expiresAt: null });
  const { redis, keys } = engine.topology;
  const sha256 = (await redis.hget(keys.apiKey(id), 'sha256')) ?? '';
  await redis.hset(keys.apiKey(id), 'sha256', sha256.slice(0, 32) + '0'.repeat(32));
  expect(await engine.apiKeys.verify(secret)).toBeNull();
});

test('a key expires at its time, also while it is remembered', async () => {
  // Known for as long as keys are remembered, unless it took that long to make and to ask.
  const short = async (): Promise<{ secret: string; expiresAt: string } | null> => {
    const expiresAt = new Date(Date.now() + 3000).toISOString();
    const { secret } = await engine.apiKeys.create('acme', { scopes: ['work'], expiresAt });
    return (await engine.apiKeys.verify(secret)) && { secret, expiresAt };
  };
  const key = (await short()) ?? (await short()) ?? (await short());
  await eventually('it is over', () => Date.now() > Date.parse(key?.expiresAt ?? ''));
  expect(await engine.apiKeys.verify(key?.secret ?? '')).toBeNull();
});

test('a revoked key is nobody once it is no longer remembered', async () => {
  const other = await openTestEngine({ keyPrefix: engine.topology.keys.prefix(0).slice(1, -3) });
  const { id, secret } = await engine.apiKeys.create('acme', { scopes: ['work'], expiresAt: null });
  await engine.apiKeys.revoke('acme', id);
  expect(await other.apiKeys.verify(secret)).toBeNull();
  await other.close();
});

test('scopes have a default; a time in the past and unknown scopes are refused', async () => {
  const create = (request: object) => engine.apiKeys.create('acme', request as never);
  expect((await create({})).scopes).toEqual(['jobs:read', 'jobs:write']);
  await expect(create({ expiresAt: '2001-01-01T00:00:00Z' })).rejects.toMatchObject({ code: 'validation' });
  await expect(create({ scopes: ['root'] })).rejects.toMatchObject({ code: 'validation' });
  await expect(create({ scopes: [] })).rejects.toMatchObject({ code: 'validation' });
});
