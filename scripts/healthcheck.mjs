/**
 * The container's health check: exit code 0 when /livez of the container's program answers 200, else 1. Which program
 * that is says the command of process 1 (or the first argument, outside a container). A worker that was told to have
 * no health server (WORKER_PORT=0) counts as well for as long as it runs.
 */
import { readFileSync } from 'node:fs';

const command = process.argv[2] ?? readFileSync('/proc/1/cmdline', 'utf8');
const port = command.includes('workers/main')
  ? Number(process.env.WORKER_PORT)
  : Number(process.env.PORT || 3000);

if (port) {
  const signal = AbortSignal.timeout(4000);
  const answer = await fetch(`http://127.0.0.1:${port}/livez`, { signal }).catch(() => undefined);
  process.exitCode = answer?.status === 200 ? 0 : 1;
}
