import type { JobEnvelope } from '../../queues/jobs/envelope.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { JobContext } from './context.ts';
import type { Run } from './run.ts';

const MAX_LOG_LINES = 1000;
const MAX_LINE_CHARS = 8192;

/** The context of one attempt. What it writes to Redis, it writes only while the job is its own. */
export function createContext(options: {
  run: Run;
  envelope: JobEnvelope;
  parents: Record<string, unknown>;
  logger: Logger;
}): JobContext {
  const { run, envelope, parents } = options;
  const { source, job, attempt } = run;
  const id = job.id ?? '';
  const { signal } = run.abort;
  const { tenant, correlationId } = envelope;
  let logger: Logger | undefined;
  const assertOwned = (): void => {
    signal.throwIfAborted();
    if (run.ended) throw new Error('The attempt has ended; its job can no longer be written to');
  };
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
    // Made when it is asked for: most attempts write nothing.
    get logger() {
      return (logger ??= options.logger.child({ jobId: id, task: job.name, tenant, correlationId, attempt }));
    },
    signal,
    attempt,
    parents,
    fence: job.attemptsStarted,
    async progress(value) {
      assertOwned();
      await source.backend.updateProgress(id, value as object);
    },
    async log(line) {
      assertOwned();
      await source.backend.addLog(id, line.slice(0, MAX_LINE_CHARS), MAX_LOG_LINES);
    },
  };
}
