import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import type { Engine } from '../../../queues/engine.ts';
import type { BatchOutcome } from '../../../queues/jobs/types.ts';
import { problemDocument, WaggleError } from '../../shared/errors.ts';
import { invalid } from '../../shared/validate.ts';
import { LineSplitter } from '../http/lines.ts';
import type { Line } from '../http/lines.ts';
import { NDJSON, RequestAbortedError } from '../http/body.ts';
import { arriving, assertServing, endEarly, write } from '../http/stream.ts';
import { toWaggleError } from '../problem.ts';
import type { StreamCall } from '../route.ts';

/**
 * Lines that are enqueued together: enough to fill the scripts, few enough to be soon answered. While Redis takes some, the
 * next ones are read.
 */
const LINES_AT_ONCE = 250;

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
 * No more is read than is enqueued and taken by the caller, but for one batch. What ends the stream early is said in its last
 * line, whose index is that of the first line which is to be sent again; of those behind it some may be stored by then.
 */
export async function streamJobs(engine: Engine, call: StreamCall): Promise<void> {
  const { req, res, limits, draining } = call;
  if (req.headers['idempotency-key'] !== undefined) {
    const message = 'is not for a stream, which can be resumed; use dedupe';
    throw invalid('validation', [{ path: 'Idempotency-Key', message }]);
  }
  begin(call);
  const lines = new LineSplitter(limits.bodyBytes);
  const most = Math.min(LINES_AT_ONCE, limits.batchJobs);
  const batches = new Batches(engine, call);
  const take = async (some: Line[]): Promise<void> => {
    for (let from = 0; from < some.length && !res.destroyed; from += most) {
      assertServing(draining);
      await batches.add(some.slice(from, from + most));
    }
  };
  try {
    try {
      for await (const chunk of arriving(req, draining)) {
        await take(lines.push(chunk));
        if (await isQuiet(req)) await batches.answerLast();
      }
      await take(lines.end());
    } finally {
      await batches.answerLast();
    }
    res.end();
  } catch (error) {
    await endWith(call, batches.answered, error);
  }
}

/** Whether nothing has come meanwhile: then the caller may wait for answers before it goes on. */
async function isQuiet(req: IncomingMessage): Promise<boolean> {
  // What the system has received is read between two turns.
  for (let turns = 0; turns < 2 && req.readableLength === 0; turns += 1) await turn();
  return req.readableLength === 0;
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

/** Lines of a stream on their way into Redis. */
interface Batch {
  items: Item[];
  outcomes: Promise<BatchOutcome[]>;
}

/** The batches of a stream: one is under way while the next is made. Their jobs are added, and answered, in order. */
class Batches {
  /** How many lines are answered. */
  answered = 0;
  readonly #engine: Engine;
  readonly #call: StreamCall;
  #last: Batch | null = null;

  constructor(engine: Engine, call: StreamCall) {
    this.#engine = engine;
    this.#call = call;
  }

  /** Enqueues lines, and answers those before. @throws StreamEnd */
  async add(lines: Line[]): Promise<void> {
    const items = lines.map((line) => parsed(line, this.#call.limits.bodyBytes));
    // A batch with conditions is added in parts, each after the one before has been looked at.
    if (items.some(hasConditions)) await this.answerLast();
    const batch = { items, outcomes: this.#enqueue(items) };
    // Should those before end the stream, nobody asks for these.
    batch.outcomes.catch(() => undefined);
    await this.answerLast();
    this.#last = batch;
    if (items.some(hasConditions)) await this.answerLast();
  }

  /** @throws StreamEnd */
  async answerLast(): Promise<void> {
    const batch = this.#last;
    if (batch === null) return;
    this.#last = null;
    const { requestId, res } = this.#call;
    const added = (await batch.outcomes).values();
    let [text, index] = ['', this.answered];
    for (const item of batch.items) {
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
    const context = { correlationId, traceparent, after: this.#last?.outcomes };
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
