import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('processor-time.c', import.meta.url));
const CACHE = fileURLToPath(new URL('../node_modules/.cache/', import.meta.url));

/**
 * The environment of a server whose slow log tells processor time instead of wall time: see processor-time.c.
 * @returns null where there is no C compiler
 */
export function processorTimeEnv(): NodeJS.ProcessEnv | null {
  mkdirSync(CACHE, { recursive: true });
  const library = `${CACHE}processor-time.so`;
  const built = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, SOURCE, '-ldl']);
  return built.status === 0 ? { LD_PRELOAD: library } : null;
}
