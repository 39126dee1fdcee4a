import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { shardOf } from '../../../queues/topology/shard-of.ts';

const tenantId = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,62}$/);

test('a tenant has one shard, whenever it is asked for, within the shards there are', () => {
  fc.assert(
    fc.property(tenantId, fc.integer({ min: 1, max: 1024 }), (tenant, shards) => {
      const shard = shardOf(tenant, shards);
      expect(Number.isInteger(shard)).toBe(true);
      expect(shard).toBeGreaterThanOrEqual(0);
      expect(shard).toBeLessThan(shards);
      expect(shardOf(`${tenant}`, shards)).toBe(shard);
    }),
  );
});

test('the mapping is what it was when jobs were stored', () => {
  const tenants = ['acme', 'globex', 'tenant-1', 'tenant-2', 'a', '*', 'x'.repeat(63)];
  expect(tenants.map((tenant) => shardOf(tenant, 4))).toMatchInlineSnapshot(`
    [
      2,
      3,
      3,
      0,
      3,
      1,
      1,
    ]
  `);
  expect(tenants.map((tenant) => shardOf(tenant, 1024))).toMatchInlineSnapshot(`
    [
      962,
      771,
      271,
      980,
      435,
      889,
      169,
    ]
  `);
});

test.each([2, 4, 7, 16, 64])('numbered tenants spread over %p shards', (shards) => {
  const families: ((i: number) => string)[] = [
    (i) => `tenant-${i}`,
    (i) => String(i),
    (i) => `t${i.toString(36)}`,
    (i) => `org_${i * 64}`,
  ];
  for (const family of families) {
    const counts = new Array<number>(shards).fill(0);
    const perShard = 400;
    for (let i = 0; i < shards * perShard; i += 1) {
      const shard = shardOf(family(i), shards);
      counts[shard] = (counts[shard] ?? 0) + 1;
    }
    // Six standard deviations of what pure chance would give.
    const slack = 6 * Math.sqrt(perShard);
    expect(Math.min(...counts)).toBeGreaterThan(perShard - slack);
    expect(Math.max(...counts)).toBeLessThan(perShard + slack);
  }
});
