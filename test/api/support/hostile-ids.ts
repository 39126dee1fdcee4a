/** What is no id of anything, and has broken look-ups and keys of Redis before. */
export const HOSTILE_IDS = [
  '__proto__',
  'a:b',
  '{}',
  '{wg:0}',
  '**',
  'a b',
  '\u0000',
  '\r\nX: 1',
  '\u{1f4a5}',
  '../..',
  'x'.repeat(10_000),
];
