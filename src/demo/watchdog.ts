import { spawn } from 'node:child_process';

/** Gives a process that drains the time for it, and no more. */
const SCRIPT = 'read -r word; [ "$word" = release ] && exit; kill -TERM "$1" && sleep 5 && kill -KILL "$1"';

/**
 * Ends process `pid` as soon as this process is gone, however it went: the watchdog reads from a pipe whose other end
 * only this process holds. Returns the function that calls this off and resolves when the watchdog is gone.
 */
export function endWithThisProcess(pid: number): () => Promise<void> {
  const watchdog = spawn('/bin/sh', ['-c', SCRIPT, 'demo-watchdog', String(pid)], {
    // A process group of its own: Ctrl-C in a terminal must not end the watchdog before what it watches.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const gone = new Promise<void>((resolve) => {
    watchdog.once('exit', () => resolve());
    watchdog.once('error', () => resolve()); // Without /bin/sh there is no watchdog, and everything else still works.
  });
  watchdog.stdin.on('error', () => undefined); // It may be gone before us when the whole session is killed.
  return () => {
    watchdog.stdin.end('release\n');
    return gone;
  };
}
