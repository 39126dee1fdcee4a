import { fileURLToPath } from 'node:url';
import type { EntryProcess } from './process.ts';

const PRELOAD = fileURLToPath(new URL('../fixtures/report-memory.mjs', import.meta.url));

/** The environment of a process that {@link memoryOf} can ask. */
export const reportsMemory = { NODE_OPTIONS: `--import=${PRELOAD}` };

export interface Memory {
  /** Bytes of JavaScript objects that are still reachable, and of the buffers that belong to them. */
  kept: number;
  rss: number;
}

/** What a process takes after its garbage has been collected. */
export async function memoryOf(entry: EntryProcess): Promise<Memory> {
  const reports = entry.lines.filter((line) => line.includes('"msg":"memory ')).length;
  entry.child.kill('SIGUSR2');
  const { heapUsed, external, rss } = (await entry.logged(`memory ${reports + 1}`)) as Record<string, number>;
  return { kept: (heapUsed ?? 0) + (external ?? 0), rss: rss ?? 0 };
}
