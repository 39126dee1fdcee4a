import { startEntry } from './process.ts';
import type { EntryProcess } from './process.ts';

/** A worker process for the queues named. */
export function startWorker(redisUrl: string, env: Record<string, string> = {}): EntryProcess {
  return startEntry('workers/main.ts', { REDIS_URL: redisUrl, WORKER_CONCURRENCY: '10', ...env });
}
