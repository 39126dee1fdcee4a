import { readFileSync } from 'node:fs';

/**
 * Resolves when `condition` holds, checked every 20 ms. For what sends no signal (a foreign process, a key in Redis);
 * where there is an event to wait for, wait for that.
 *
 * @param timeoutMs far more than a loaded machine takes: it is no claim, only the end of a test that would hang
 * @throws Error naming `what` when it does not hold within `timeoutMs`
 */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 90_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether a process with this id runs. One that has ended and only waits to be reaped (in a container by nobody) does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
  } catch {
    return process.platform !== 'linux';
  }
}
