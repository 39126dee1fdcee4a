import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatPosition, parsePosition, START } from '../../../queues/streams/position.ts';
import type { Position, Told } from '../../../queues/streams/position.ts';

const count = fc.nat(999_999_999);
const time = fc.nat(999_999_999_999_999);
const going = fc.record({
  what: fc.constantFrom<Told['what']>('waiting', 'delayed', 'active', 'waiting-children'),
  starts: count,
  endedAt: fc.constant(null),
});
const ended = fc.record({
  what: fc.constantFrom<Told['what']>('completed', 'failed', 'cancelled', 'expired', 'end'),
  starts: count,
  endedAt: time,
});
const position: fc.Arbitrary<Position> = fc.record({
  entry: fc.tuple(time, time).map((parts) => parts.join('-')),
  since: count,
  told: fc.oneof(going, ended),
});

describe('the id of an event', () => {
  test('says the whole position', () => {
    fc.assert(
      fc.property(position, (any) => {
        const text = formatPosition(any);
        expect(parsePosition(text)).toEqual(any);
        expect(text).toMatch(/^[A-Za-z0-9._~-]{1,128}$/);
      }),
    );
  });

  test.each([
    ['0-0', START],
    ['1795862299971-12', { entry: '1795862299971-12', since: 0, told: null }],
    [
      '0-0.1795862299971',
      { entry: '0-0', since: 0, told: { what: 'end', starts: null, endedAt: 1795862299971 } },
    ],
  ])('of an earlier version, %s, is one still', (text, meant) => {
    expect(parsePosition(text)).toEqual(meant);
    expect(formatPosition(meant as Position)).toBe(text);
  });

  test.each([
    '',
    '0',
    '0-0~',
    '0-0~1',
    '0-0~1.active',
    '0-0~.active.1',
    '0-0~1.active.1.',
    '0-0~1.active.1.5',
    '0-0~1.completed.1',
    '0-0~1.end.1',
    '0-0~1.sleeping.1',
    '0-0~1.__proto__.1',
    '0-0~1.active.-1',
    '0-0~9999999999.active.1',
    '0-0~1.active.1\n',
    ' 0-0',
  ])('%j is none', (text) => {
    expect(() => parsePosition(text)).toThrow(expect.objectContaining({ code: 'validation' }));
  });
});
