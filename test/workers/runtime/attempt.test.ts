import { describe, expect, test } from '@jest/globals';
import { AttemptAborted } from '../../../workers/runtime/abort.ts';
import type { AbortCause } from '../../../workers/runtime/abort.ts';
import { runAttempt } from '../../../workers/runtime/attempt.ts';
import type { Settled } from '../../../workers/runtime/attempt.ts';
import { classify } from '../../../workers/runtime/outcome.ts';
import type { AttemptCount, Outcome } from '../../../workers/runtime/outcome.ts';
import { PauseKey, PauseTenant, TaskError } from '../../../workers/runtime/task-error.ts';
import { latch } from '../support.ts';

const once = { made: 0, max: 1, backoff: undefined };
const thrice = { made: 0, max: 3, backoff: { type: 'fixed', delayMs: 100, maxDelayMs: 100, jitter: 0 } };

function attempt(handler: () => unknown, options: { timeoutMs?: number; abort?: AbortController } = {}) {
  const { timeoutMs = null, abort = new AbortController() } = options;
  return runAttempt(handler, { timeoutMs, abort, graceMs: 20 });
}

function aborted(cause: AbortCause): AbortSignal {
  return AbortSignal.abort(new AttemptAborted(cause, `aborted: ${cause}`));
}

const RESULT_BYTES = 1000;
const decided = (settled: Settled, signal: AbortSignal, count: AttemptCount): Outcome =>
  classify(settled, signal, count, RESULT_BYTES);

describe('runAttempt', () => {
  test('turns every way a handler can end into a value', async () => {
    const error = new Error('no');
    expect(await attempt(() => 1)).toEqual({ kind: 'returned', value: 1 });
    expect(await attempt(async () => Promise.resolve(2))).toEqual({ kind: 'returned', value: 2 });
    expect(
      await attempt(() => {
        throw error;
      }),
    ).toEqual({ kind: 'threw', error });
    expect(await attempt(() => Promise.reject(error))).toEqual({ kind: 'threw', error });
  });

  test('aborts at the time-out and waits for a handler that stops', async () => {
    const abort = new AbortController();
    const stopped = new Promise((_resolve, reject) => {
      abort.signal.addEventListener('abort', () => reject(new Error('stopped')));
    });
    expect(await attempt(() => stopped, { timeoutMs: 5, abort })).toMatchObject({ kind: 'threw' });
    expect(abort.signal.reason).toMatchObject({ cause: 'timeout' });
  });

  test('goes on without a handler that ignores the abort, and says when it ends', async () => {
    const { opened, open } = latch<string>();
    const settled = await attempt(() => opened, { timeoutMs: 5 });
    if (settled.kind !== 'unresponsive') throw new Error(settled.kind);
    open('late');
    expect(await settled.ended).toEqual({ kind: 'returned', value: 'late' });
  });
});

describe('classify', () => {
  const live = new AbortController().signal;
  const returned: Settled = { kind: 'returned', value: { ok: true } };
  const threw = (error: unknown): Settled => ({ kind: 'threw', error });

  test('a result completes the job; what JSON has no word for is null', () => {
    expect(decided(returned, live, once)).toEqual({ kind: 'complete', result: { ok: true } });
    expect(decided({ kind: 'returned', value: undefined }, live, once)).toEqual({
      kind: 'complete',
      result: null,
    });
  });

  test('a result that is not JSON fails for good', () => {
    const value: Record<string, unknown> = {};
    value.self = value;
    for (const odd of [value, 1n]) {
      expect(decided({ kind: 'returned', value: odd }, live, thrice)).toMatchObject({
        kind: 'fail',
        failure: { code: 'invalid_result', retryable: false },
      });
    }
  });

  test('an error is retried while attempts are left', () => {
    expect(decided(threw(new Error('no')), live, thrice)).toEqual({
      kind: 'retry',
      delayMs: 100,
      failure: { code: 'task_failed', message: 'no', retryable: true },
    });
    expect(decided(threw(new Error('no')), live, { ...thrice, made: 2 })).toMatchObject({ kind: 'fail' });
    expect(decided(threw('text'), live, once)).toMatchObject({ kind: 'fail', failure: { message: 'text' } });
  });

  test('a TaskError says whether and when', () => {
    const final = new TaskError('bad_input', 'no', { retryable: false });
    expect(decided(threw(final), live, thrice)).toEqual({
      kind: 'fail',
      failure: { code: 'bad_input', message: 'no', retryable: false },
    });
    const later = new TaskError('busy', 'later', { retryable: true, retryAfterMs: 5000 });
    expect(decided(threw(later), live, thrice)).toMatchObject({ kind: 'retry', delayMs: 5000 });
    const never = new TaskError('busy', 'never', { retryable: true, retryAfterMs: 1e12 });
    expect(decided(threw(never), live, thrice)).toMatchObject({ kind: 'retry', delayMs: 3_600_000 });
  });

  test.each([
    ['pause-tenant', (ms: number) => new PauseTenant(ms)],
    ['pause-key', (ms: number) => new PauseKey(ms)],
  ])('%s: no failure, also of the last attempt, and for an hour at most', (kind, pause) => {
    const asked = (ms: number): Outcome => decided(threw(pause(ms)), live, once);
    expect(asked(1500)).toEqual({ kind, forMs: 1500 });
    expect(asked(0.5)).toEqual({ kind, forMs: 1 });
    for (const none of [-1, NaN]) expect(asked(none)).toEqual({ kind, forMs: 0 });
    for (const long of [1e12, Infinity]) expect(asked(long)).toEqual({ kind, forMs: 3_600_000 });
    expect(decided(threw(pause(1500)), aborted('cancelled'), thrice)).toMatchObject({ kind: 'fail' });
    expect(decided(threw(pause(1500)), aborted('timeout'), thrice)).toMatchObject({ kind: 'retry' });
    expect(decided(threw(pause(1500)), aborted('lock_lost'), thrice)).toEqual({ kind: 'abandon' });
  });

  test('a message is bounded', () => {
    const outcome = decided(threw(new Error('x'.repeat(10_000))), live, once);
    expect(outcome).toMatchObject({ failure: { message: expect.stringMatching(/^x{2047}…$/) } });
  });

  test('a time-out counts, whatever the handler did afterwards', () => {
    const timedOut = { kind: 'retry', failure: { code: 'timeout', retryable: true } };
    expect(decided(returned, aborted('timeout'), thrice)).toMatchObject(timedOut);
    expect(decided(threw(new Error('no')), aborted('timeout'), thrice)).toMatchObject(timedOut);
  });

  test('a shutdown hands back what did not finish', () => {
    expect(decided(threw(new Error('no')), aborted('shutdown'), once)).toEqual({ kind: 'hand-back' });
    expect(decided({ kind: 'unresponsive', ended: Promise.resolve() }, aborted('shutdown'), once)).toEqual({
      kind: 'hand-back',
    });
    expect(decided(returned, aborted('shutdown'), once)).toMatchObject({ kind: 'complete' });
  });

  test('without the lock nothing is written', () => {
    expect(decided(returned, aborted('lock_lost'), once)).toEqual({ kind: 'abandon' });
  });
});
