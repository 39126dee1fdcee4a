import { isUtf8 } from 'node:buffer';
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

/** Lines that are enqueued together: enough to fill the scripts, few enough to be soon answered. */
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
 * No more is read than is enqueued and taken by the caller. What ends the stream early is said in its last line, whose index
 * is that of the first line which is to be sent again.
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
  let next = 0;
  const take = async (some: Line[]): Promise<void> => {
    for (let from = 0; from < some.length && !res.destroyed; from += most) {
      assertServing(draining);
      next = await answerLines(engine, call, some.slice(from, from + most), next);
    }
  };
  try {
    for await (const chunk of arriving(req, draining)) await take(lines.push(chunk));
    await take(lines.end());
    res.end();
  } catch (error) {
    await endWith(call, next, error);
  }
}

function begin({ res }: StreamCall): void {
  res.statusCode = 202;
  res.setHeader('Content-Type', `${NDJSON}; charset=utf-8`);
  res.setHeader('Cache-Control', 'no-store');
  // nginx would hold the answer back until it is complete.
  res.setHeader('X-Accel-Buffering', 'no');
  res.flushHeaders();
}

/** @returns the index of the next line @throws StreamEnd */
async function answerLines(engine: Engine, call: StreamCall, lines: Line[], first: number): Promise<number> {
  const items = lines.map((line) => parsed(line, call.limits.bodyBytes));
  const requests = items.flatMap((item) => ('request' in item ? [item.request] : []));
  const { tenant, correlationId, traceparent, requestId, res } = call;
  const context = { correlationId, traceparent };
  const added = (await engine.jobs.enqueueBatch(tenant, requests, context)).values();
  let text = '';
  for (const [place, item] of items.entries()) {
    const outcome = 'problem' in item ? item : added.next().value;
    if (outcome === undefined) throw new Error('every job of a batch has an outcome');
    const index = first + place;
    if (isOutage(outcome)) {
      await write(res, text);
      throw new StreamEnd(index, outcome.problem);
    }
    text += `${JSON.stringify(result(outcome, index, requestId))}\n`;
  }
  await write(res, text);
  return first + items.length;
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

function parsed(line: Line, limitBytes: number): { request: unknown } | { problem: WaggleError } {
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
