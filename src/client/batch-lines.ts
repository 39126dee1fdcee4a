import type { z } from 'zod';
import type { BatchResult, JobRequest } from '../shared/schemas.ts';
import { linesOf, NDJSON } from './lines.ts';
import { pause } from './retry.ts';
import type { CallOptions, Transport } from './transport.ts';
import { BatchEndedError, WaggleError } from './waggle-error.ts';

type Job = z.input<typeof JobRequest>;
type Outcome = z.output<typeof BatchResult>;

/** An answer may take long where many jobs go in at once; a connection silent for longer is lost. */
const SILENCE_MS = 120_000;
/** A source that has everything at hand would let nobody else have a turn, not even the answer. */
const BYTES_A_TURN = 256 * 1024;

/**
 * Sends jobs as lines of one request and gives the outcome of each, in order, while they are sent. Jobs are taken from
 * `jobs` no faster than the API stores them, so whoever makes them should go on when they are asked for.
 * @throws BatchEndedError when it ended early; whatever `jobs` throws
 */
export async function* batchLines(
  transport: Transport,
  jobs: Iterable<Job> | AsyncIterable<Job>,
  { signal }: CallOptions,
): AsyncGenerator<Outcome, void, undefined> {
  const left = new AbortController();
  const ended = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
  const sending = new Sending(jobs, ended);
  // One outcome is held back: the last one may say that the whole has ended early.
  let last: Outcome | undefined;
  let lost: WaggleError | undefined;
  try {
    const call = { method: 'POST' as const, path: '/v1/jobs/batch', signal: ended };
    const response = await transport.open(call, { type: NDJSON, body: sending.body });
    for await (const line of linesOf(response, SILENCE_MS)) {
      if (last !== undefined) yield last;
      last = JSON.parse(line) as Outcome;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (sending.fault !== undefined) throw sending.fault.error;
    if (!(error instanceof WaggleError)) throw error;
    lost = error;
  } finally {
    left.abort();
  }
  const isComplete = lost === undefined && sending.isComplete && sending.count === after(last);
  const ending = last !== undefined && isEnding(last, isComplete) ? last : undefined;
  if (last !== undefined && ending === undefined) yield last;
  if (ending !== undefined) throw new BatchEndedError(errorIn(ending), ending.index);
  if (!isComplete) throw new BatchEndedError(lost ?? cutShort(), after(last));
}

/** How many jobs have an outcome when this is the last. */
function after(last: Outcome | undefined): number {
  return last === undefined ? 0 : last.index + 1;
}

type Refusal = Extract<Outcome, { problem: unknown }>;

/** Whether the last outcome is not that of its job but of the whole. */
function isEnding(last: Outcome, isComplete: boolean): last is Refusal {
  return 'problem' in last && (!isComplete || last.problem.status === 503);
}

function errorIn({ problem }: Refusal): WaggleError {
  return new WaggleError(problem.code as WaggleError['code'], problem.detail, {
    status: problem.status,
    problem,
  });
}

function cutShort(): WaggleError {
  return new WaggleError('unreachable', 'The answer ends before the batch does.');
}

/** The lines of a request, made as the connection takes them. */
class Sending {
  readonly body: ReadableStream<Uint8Array>;
  /** Jobs that were taken so far. */
  count = 0;
  isComplete = false;
  /** What the caller's jobs ended with, if that was an error. */
  fault: { error: unknown } | undefined;

  constructor(jobs: Iterable<Job> | AsyncIterable<Job>, ended: AbortSignal) {
    const lines = this.#lines(jobs);
    const leave = async (): Promise<void> => {
      await lines.return(undefined);
    };
    this.body = new ReadableStream<Uint8Array>({
      // `fetch` of Node 20 goes on taking lines when the request is over, so the source itself must end.
      start: (controller) => {
        ended.addEventListener('abort', () => {
          controller.error(ended.reason);
          leave().catch(() => undefined);
        });
      },
      pull: async (controller) => {
        const { done, value } = await lines.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: leave,
    });
  }

  async *#lines(jobs: Iterable<Job> | AsyncIterable<Job>): AsyncGenerator<Uint8Array, void, undefined> {
    const encoder = new TextEncoder();
    let sinceTurn = 0;
    try {
      for await (const job of jobs) {
        this.count++;
        const line = encoder.encode(`${JSON.stringify(job)}\n`);
        yield line;
        sinceTurn += line.length;
        if (sinceTurn < BYTES_A_TURN) continue;
        sinceTurn = 0;
        await pause(0, undefined);
      }
      this.isComplete = true;
    } catch (error) {
      this.fault = { error };
      throw error;
    }
  }
}
