import Sequencer from '@jest/test-sequencer';

/** Files that take long, the longest first. Were one of them the last, it would run alone for most of its time. */
const LONGEST = [
  'demo/demo',
  'api/fuzz',
  'workers/shards',
  'workers/overall-limits',
  'fair/gates.property',
  'api/jobs',
];

/** A clean checkout knows nothing of earlier runs, and a file's size says little of its time. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    const place = ({ path }) => {
      const found = LONGEST.findIndex((name) => path.endsWith(`${name}.test.ts`));
      return found < 0 ? LONGEST.length : found;
    };
    return [...super.sort(tests)].sort((one, other) => place(one) - place(other));
  }
}
