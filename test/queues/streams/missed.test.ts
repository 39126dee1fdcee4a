import { describe, expect, test } from '@jest/globals';
import type { JobState } from '../../../src/shared/schemas.ts';
import { missedStates } from '../../../queues/streams/missed.ts';
import type { Told } from '../../../queues/streams/position.ts';

const STARTED = 100;
const SEEN = 200;

function told(what: Told['what'], starts: number | null): Told {
  return { what, starts, endedAt: what === 'end' || what === 'failed' ? 50 : null };
}

/** What a reader who was told that is to be told of a job that is now in `state` after so many starts. */
function missed(last: Told, state: JobState, starts: number, processedOn: number | undefined = STARTED) {
  const at = state === 'active' ? STARTED : SEEN;
  const record = { attemptsStarted: starts, ...(starts === 0 ? {} : { processedOn }) };
  return missedStates(last, record, { state, at }).map((due) => [due.state, due.at]);
}

describe('what was missed of the states of a job', () => {
  test('is nothing where it is as it was told, and its present state where that is another', () => {
    for (const state of ['waiting', 'delayed', 'waiting-children'] as const) {
      expect(missed(told(state, 0), state, 0)).toEqual([]);
      expect(missed(told('active', 1), state, 1)).toEqual([[state, SEEN]]);
    }
    expect(missed(told('active', 1), 'active', 1)).toEqual([]);
    expect(missed(told('waiting', 0), 'delayed', 0)).toEqual([['delayed', SEEN]]);
  });

  test('is that it started, at its time, wherever it is now', () => {
    const start = ['active', STARTED];
    expect(missed(told('delayed', 0), 'active', 1)).toEqual([start]);
    expect(missed(told('delayed', 0), 'completed', 1)).toEqual([start]);
    expect(missed(told('waiting', 1), 'waiting', 2)).toEqual([start, ['waiting', SEEN]]);
    expect(missed(told('active', 1), 'active', 2)).toEqual([start]);
    expect(missed(told('active', 1), 'delayed', 3)).toEqual([start, ['delayed', SEEN]]);
  });

  test('is no start of before', () => {
    expect(missed(told('active', 1), 'completed', 1)).toEqual([]);
    // It failed, was told to be delayed, and was cancelled then.
    expect(missed(told('delayed', 1), 'cancelled', 1)).toEqual([]);
    expect(missed(told('active', 2), 'active', 1)).toEqual([]);
  });

  test('after an end is what came of a retry', () => {
    expect(missed(told('end', 1), 'waiting', 1)).toEqual([['waiting', SEEN]]);
    expect(missed(told('end', 1), 'active', 2)).toEqual([['active', STARTED]]);
    expect(missed(told('failed', 1), 'failed', 2)).toEqual([['active', STARTED]]);
    expect(missed(told('failed', 1), 'failed', 1)).toEqual([]);
  });

  test('is the present state alone where nothing says how often it had started', () => {
    expect(missed(told('end', null), 'waiting', 3)).toEqual([['waiting', SEEN]]);
    expect(missed(told('end', null), 'failed', 3)).toEqual([]);
  });
});
