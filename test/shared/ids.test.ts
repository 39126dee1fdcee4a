import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isQueueName, isTenantId, newJobId, queueOfJobId, RESERVED_QUEUES } from '../../src/shared/ids.ts';

const queueName = fc.stringMatching(/^[a-z][a-z0-9._-]{0,62}$/).filter((name) => !RESERVED_QUEUES.has(name));

test('an id names its queue, fits a URL path, and is no other', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(queueName, (queue) => {
      const id = newJobId(queue);
      expect(queueOfJobId(id)).toBe(queue);
      expect(id).toMatch(/^[A-Za-z0-9._~-]+$/);
      expect(seen.has(id)).toBe(false);
      seen.add(id);
    }),
  );
});

test('ids of one process grow, also within a millisecond', () => {
  const ids = Array.from({ length: 10_000 }, () => newJobId('default'));
  expect([...ids].sort()).toEqual(ids);
});

test('any text is either the id of a legal queue or none', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 120 }), (text) => {
      const queue = queueOfJobId(text);
      expect(queue === null || isQueueName(queue)).toBe(true);
    }),
  );
  for (const queue of RESERVED_QUEUES) expect(queueOfJobId(newJobId(queue))).toBeNull();
});

test("the contract's tenant ids", () => {
  for (const id of ['a', '0', 'acme', 'a-b_c', 'x'.repeat(63)]) expect(isTenantId(id)).toBe(true);
  for (const id of ['', '-a', '_a', 'A', 'a b', 'a.b', 'a:b', '*', 'é', 'x'.repeat(64), 'a\n']) {
    expect(isTenantId(id)).toBe(false);
  }
});
