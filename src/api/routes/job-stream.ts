import { isUtf8 } from 'node:buffer';
import type { Engine } from '../../../queues/engine.ts';
import type { BatchOutcome } from '../../../queues/jobs/types.ts';
import { problemDocument, WaggleError } from '../../shared/errors.ts';
import { invalid } from '../../shared/validate.ts';
import { LineSplitter } from '../http/lines.ts';
import type { Line } from '../http/lines.ts';
import { NDJSON, RequestAbortedError } from '../http/body.ts';
import { arriving, endEarly, write } from '../http/stream.ts';
import { toWaggleError } from '../problem.ts';
import type { StreamCall } from '../route.ts';

/**
 * Lines that are enqueued together: enough to fill the scripts, few enough to be soon answered. While Redis takes some, the
 * next ones are read.
 */
const LINES_AT_ONCE = 250;
const RETRY_AFTER_MS = 1000;

/** What ends a stream before its time: the lines before `index` are answered, it and those after are not. */
class StreamEnd extends Error {
  readonly index: number;
  readonly problem: WaggleError;

  constructor(index: number, problem: WaggleError) {
    super(problem.detail);
    this.index = index;
    this.problem = problem;
  }
}

/**
 * Enqueues a job for each line of the body, and answers each with a line: `{index, id}` or `{index, problem}`, in order.
 * No more is read than is enqueued and taken by the caller, but for two batches. What ends the stream early is said in its
 * last line, whose index is that of the first line which is to be sent again; of those behind it some may be stored by then.
 */
export async function streamJobs(engine: Engine, call: StreamCall): Promise<void> {
  const { req, res, limits, draining } = call;
  if (req.headers['idempotency-key'] !== undefined) {
    const message = 'is not for a stream, which can be resumed; use dedupe';
    throw invalid('validation', [{ path: 'Idempotency-Key', message }]);
  }
  begin(call);
  const stop = new AbortController();
  const onDraining = (): void => stop.abort(shuttingDown());
  if (draining.aborted) onDraining();
  draining.addEventListener('abort', onDraining);
  const lines = new LineSplitter(limits.bodyBytes);
  const most = Math.min(LINES_AT_ONCE, limits.batchJobs);
  const batches = new Batches(engine, call, (problem) => stop.abort(problem));
  const take = async (some: Line[]): Promise<void> => {
    for (const batch of evenParts(some, most)) {
      stop.signal.throwIfAborted();
      if (res.destroyed) throw new RequestAbortedError();
      await batches.add(batch);
    }
  };
  try {
    try {
      for await (const chunk of arriving(req, stop.signal)) await take(lines.push(chunk));
      await take(lines.end());
    } finally {
      await batches.allAnswered;
    }
    res.end();
  } catch (error) {
    await endWith(call, batches.answered, error);
  } finally {
    draining.removeEventListener('abort', onDraining);
  }
}

function shuttingDown(): WaggleError {
  return new WaggleError('shutting_down', 'This server is shutting down.', { retryAfterMs: RETRY_AFTER_MS });
}

/** As few parts of at most so many items as can be, all about as long. */
function* evenParts<T>(items: readonly T[], most: number): Generator<T[]> {
  const size = Math.ceil(items.length / Math.ceil(items.length / most));
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}

function begin({ res }: StreamCall): void {
  res.statusCode = 202;
  res.setHeader('Content-Type', `${NDJSON}; charset=utf-8`);
  res.setHeader('Cache-Control', 'no-store');
  // nginx would hold the answer back until it is complete.
  res.setHeader('X-Accel-Buffering', 'no');
  res.flushHeaders();
}

/** A line of a batch as a request, or what is wrong with it. */
type Item = { request: unknown } | { problem: WaggleError };

/**
 * The batches of a stream. Each is answered as soon as it is stored, whether or not more is coming; at most two are under way.
 * Their jobs are added, and answered, in order.
 */
class Batches {
  /** How many lines are answered. */
  answered = 0;
  /** Settles when all lines that were added are answered. @throws StreamEnd */
  allAnswered = Promise.resolve();
  readonly #engine: Engine;
  readonly #call: StreamCall;
  readonly #onFailure: (error: unknown) => void;
  #lastAdded: Promise<unknown> | undefined;

  /** @param onFailure is called when a batch could not be answered; none of those after it is */
  constructor(engine: Engine, call: StreamCall, onFailure: (error: unknown) => void) {
    this.#engine = engine;
    this.#call = call;
    this.#onFailure = onFailure;
  }

  /** Enqueues lines, and waits until those before are answered. @throws StreamEnd */
  async add(lines: Line[]): Promise<void> {
    const before = this.allAnswered;
    const items = lines.map((line) => parsed(line, this.#call.limits.bodyBytes));
    // A batch with conditions is added in parts, each after the one before has been looked at.
    const isAlone = items.some(hasConditions);
    if (isAlone) await before;
    const outcomes = this.#enqueue(items);
    // Should those before end the stream, nobody asks for these.
    outcomes.catch(() => undefined);
    this.#lastAdded = outcomes;
    this.allAnswered = before.then(async () => this.#answer(items, await outcomes));
    this.allAnswered.catch(this.#onFailure);
    await (isAlone ? this.allAnswered : before);
  }

  async #answer(items: readonly Item[], outcomes: BatchOutcome[]): Promise<void> {
    const { requestId, res } = this.#call;
    const added = outcomes.values();
    let [text, index] = ['', this.answered];
    for (const item of items) {
      const outcome = 'problem' in item ? item : added.next().value;
      if (outcome === undefined) throw new Error('every job of a batch has an outcome');
      if (isOutage(outcome)) {
        await write(res, text);
        throw new StreamEnd(index, outcome.problem);
      }
      text += `${JSON.stringify(result(outcome, index, requestId))}\n`;
      index += 1;
    }
    await write(res, text);
    this.answered = index;
  }

  #enqueue(items: readonly Item[]): Promise<BatchOutcome[]> {
    const requests = items.flatMap((item) => ('request' in item ? [item.request] : []));
    const { tenant, correlationId, traceparent } = this.#call;
    const context = { correlationId, traceparent, after: this.#lastAdded };
    return this.#engine.jobs.enqueueBatch(tenant, requests, context);
  }
}

function hasConditions(item: Item): boolean {
  return (
    'request' in item && typeof item.request === 'object' && item.request !== null && 'dedupe' in item.request
  );
}

/** Redis can take nothing at the moment, so the next lines would fare alike. */
function isOutage(outcome: BatchOutcome): outcome is { problem: WaggleError } {
  return 'problem' in outcome && outcome.problem.status === 503;
}

async function endWith({ req, res, requestId }: StreamCall, next: number, error: unknown): Promise<void> {
  if (res.destroyed || error instanceof RequestAbortedError) {
    res.destroy();
    return;
  }
  const { index, problem } =
    error instanceof StreamEnd ? error : { index: next, problem: toWaggleError(error) };
  const document = problemDocument(problem, requestId);
  document.detail += ` Resume with the line of index ${index}.`;
  endEarly(req, res, `${JSON.stringify({ index, problem: document })}\n`);
  // For the log.
  if (problem.code === 'internal') throw error;
}

export function result(outcome: BatchOutcome, index: number, requestId: string): object {
  return 'id' in outcome
    ? { index, id: outcome.id }
    : { index, problem: problemDocument(outcome.problem, requestId) };
}

function parsed(line: Line, limitBytes: number): Item {
  if (line === null) {
    return { problem: new WaggleError('payload_too_large', `The line is larger than ${limitBytes} bytes.`) };
  }
  if (!isUtf8(line)) return { problem: new WaggleError('malformed_json', 'The line is not valid UTF-8.') };
  try {
    return { request: JSON.parse(line.toString('utf8')) as unknown };
  } catch {
    return { problem: new WaggleError('malformed_json', 'The line is not JSON.') };
  }
}
