/** What two labs that were treated alike must have in common. */
import type { Lab } from './bullmq-lab.ts';
import { dump, pairs } from './keyspace.ts';

const MOMENTS = new Set(['timestamp', 'processedOn', 'finishedOn', 'stacktrace']);

/** A keyspace or a hash without what differs from run to run: moments (in ms or µs) and prefixes. */
export function comparable(value: unknown): unknown {
  if (typeof value === 'string')
    return value.replace(/\b1[789]\d{11}(\d{3})?\b/g, 'T').replace(/fair-[0-9a-f]{12}/g, 'P');
  if (typeof value === 'number') return value > 1e12 ? 'T' : value;
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field]) => !MOMENTS.has(field))
      .map(([field, content]) => [field, comparable(content)]),
  );
}

/** The keys of a lab without moments. `forgive` takes out what is known to differ between the two. */
export async function keyspace(lab: Lab, forgive: (keys: Record<string, unknown>) => void): Promise<unknown> {
  const keys = await dump(lab.redis, lab.prefix);
  forgive(keys);
  for (const [key, content] of Object.entries(keys)) {
    if (/^:q:(completed|failed|delayed)$/.test(key))
      keys[key] = pairs(content as string[])
        .map(([id]) => id)
        .sort();
    // By moments, of which two are the same or not.
    if (key === ':q:fair:park') keys[key] = pairs(content as string[]).sort(([a], [b]) => (a < b ? -1 : 1));
  }
  return comparable(keys);
}

export function isHash(content: unknown): content is Record<string, string> {
  return typeof content === 'object' && content !== null && !Array.isArray(content);
}
