import fc from 'fast-check';
import { Fields, Verbatim } from './json-text.ts';

/** Text that has broken parsers, keys and log lines before. */
export const nastyText: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    ':',
    '::',
    '{}',
    '*',
    '{wg:0}',
    '{wg:0}:default:1',
    'wg:queues',
    'a:b',
    'default.',
    '.01JZ3QK0M4Y8W6T2N5R7S9V1XC',
    '%',
    '%s%n',
    '%00',
    '%2e%2e%2f',
    '..%2f..%2f',
    '../../etc/passwd',
    '..\\..\\',
    '\u0000',
    'a\u0000b',
    '\u0001\u0008\u001b[31m\u007f',
    '\r\nX-Injected: 1',
    '%0d%0aX-Injected:%201',
    '\u2028\u2029',
    '\ufeff',
    '\u202eohce',
    // Look-alikes: fullwidth, Cyrillic, with a combining mark, and what another case turns into something else.
    '\uff45\uff43\uff48\uff4f',
    '\u0435cho',
    'e\u0301cho',
    '\u0130\u00df\u212a',
    // Halves of a pair.
    '\ud800',
    'x\udc00y',
    '\u{1f4a5}',
    'NaN',
    'Infinity',
    '-1',
    '-0',
    '0x10',
    '1e309',
    '9'.repeat(400),
    'null',
    'undefined',
    '[object Object]',
    '${7*7}',
    '<script>alert(1)</script>',
    "'; DROP TABLE jobs; --",
    "'return redis.call('flushall')",
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
  fc.constantFrom('x', ':', '\u0000').map((unit) => unit.repeat(10_000)),
);

/** Values of all kinds, and what is no value though it looks like one. */
export const nastyValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: nastyText },
  {
    weight: 2,
    arbitrary: fc.constantFrom<unknown>(
      ...[null, true, false, [], {}, [[]], [null], { '': '' }, -0, -1, 0.5, 2 ** 31, 2 ** 53, 1e21, 5e-324],
      ...['0000-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '2026-02-30T00:00:00Z', '2026-01-01'],
      ...['1e999', '-1e999', '9'.repeat(400), '1.0000000000000000001', '5.0'].map(
        (text) => new Verbatim(text),
      ),
      ...['"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"'].map((text) => new Verbatim(text)),
      new Fields([['__proto__', { admin: true }]]),
      new Fields([['constructor', { prototype: { admin: true } }]]),
      { toJSON: 'x', then: 'x', length: -1, valueOf: null },
    ),
  },
  // No JSON at all.
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(
      ...['NaN', 'Infinity', '01', '+1', '.5', 'undefined', "'a'", '"\t"', '"\\x00"', '', '//', '1,'].map(
        (text) => new Verbatim(text),
      ),
      new Verbatim([0x22, 0xff, 0xfe, 0x22]),
      // A half of a pair, and a slash written too long: neither is UTF-8.
      new Verbatim([0x22, 0xed, 0xa0, 0x80, 0x22]),
      new Verbatim([0x22, 0xc0, 0xaf, 0x22]),
    ),
  },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 1, arbitrary: fc.double() },
);
