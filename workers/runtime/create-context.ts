import type { JobEnvelope } from '../../queues/jobs/envelope.ts';
import { lineTimer, timedLine } from '../../queues/streams/log.ts';
import type { EntryKind, StreamWriter } from '../../queues/streams/writer.ts';
import type { Logger } from '../../src/shared/logger.ts';
import { traceFields } from '../../src/shared/tracing.ts';
import type { JobContext } from './context.ts';
import { traceparentOf } from './run.ts';
import type { Run } from './run.ts';

const MAX_LOG_LINES = 1000;
const MAX_LINE_CHARS = 8192;
/** Bounds what a job's stream takes in Redis, together with its number of entries. */
const MAX_ENTRY_CHARS = 16_384;
/** A character may take six in JSON, and two quotes stand around them. */
const MAX_PIECE_CHARS = Math.floor((MAX_ENTRY_CHARS - 2) / 6);

/** The context of one attempt. What it writes to Redis, it writes only while the job is its own. */
export function createContext(options: {
  run: Run;
  envelope: JobEnvelope;
  parents: Record<string, unknown>;
  writer: StreamWriter;
  logger: Logger;
}): JobContext {
  const { run, envelope, parents, writer } = options;
  const { source, job, attempt } = run;
  const id = job.id ?? '';
  const { signal } = run.abort;
  const { tenant, correlationId, retainMs } = envelope;
  const traceparent = traceparentOf(run);
  const owner = { shard: source.shard, tenant, id, retainMs };
  let nextTime: (() => string) | undefined;
  let logger: Logger | undefined;
  const assertOwned = (): void => {
    signal.throwIfAborted();
    if (run.ended) throw new Error('The attempt has ended; its job can no longer be written to');
  };
  const write = (kind: EntryKind, json: string): Promise<void> => writer.write(owner, kind, json);
  return {
    job: {
      id,
      task: job.name,
      queue: source.name,
      payload: run.payload,
      tags: envelope.tags,
      maxAttempts: Math.max(job.opts.attempts ?? 1, 1),
    },
    tenant,
    correlationId,
    traceparent,
    // Made when it is asked for: most attempts write nothing.
    get logger() {
      return (logger ??= options.logger.child({
        jobId: id,
        task: job.name,
        tenant,
        correlationId,
        attempt,
        ...traceFields(traceparent),
      }));
    },
    signal,
    attempt,
    parents,
    fence: job.attemptsStarted,
    async progress(value) {
      assertOwned();
      const json = entryJson(value);
      await Promise.all([source.backend.updateProgress(id, value as object), write('progress', json)]);
    },
    async log(line) {
      assertOwned();
      const text = line.slice(0, MAX_LINE_CHARS);
      const time = (nextTime ??= lineTimer())();
      await Promise.all([
        source.backend.addLog(id, timedLine(time, text), MAX_LOG_LINES),
        write('log', JSON.stringify(text)),
      ]);
    },
    async chunk(value) {
      assertOwned();
      const pieces = typeof value === 'string' ? textPieces(value) : [value];
      await Promise.all(pieces.map((piece) => write('chunk', entryJson(piece))));
    },
  };
}

/** @throws RangeError for an entry that is too large, TypeError for what JSON has no word for */
function entryJson(value: unknown): string {
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) throw new TypeError('What is written must be JSON');
  if (json.length <= MAX_ENTRY_CHARS) return json;
  throw new RangeError(`What is written at once may have ${MAX_ENTRY_CHARS} characters as JSON`);
}

/** Text is text wherever it is cut, but for the two halves of a character outside the first plane. */
function textPieces(text: string): string[] {
  if (text.length <= MAX_PIECE_CHARS) return [text];
  const pieces: string[] = [];
  for (let from = 0; from < text.length;) {
    const splits = /[\ud800-\udbff]/.test(text.charAt(from + MAX_PIECE_CHARS - 1));
    const to = from + MAX_PIECE_CHARS - (splits ? 1 : 0);
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}
