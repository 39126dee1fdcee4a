import { z } from 'zod';
import { MAX_DELAY_MS } from './limits.ts';

export const dedupeModes = ['first', 'last', 'debounce', 'accumulate'] as const;

export const Dedupe = z
  .strictObject({
    id: z
      .string()
      .min(1)
      .max(256)
      .meta({
        description: 'What makes jobs the same, inside the tenant and queue.',
        examples: ['invoice-7'],
      }),
    ttlMs: z
      .int()
      .min(1)
      .max(MAX_DELAY_MS)
      .optional()
      .meta({
        description:
          '`first`: the job stands at least this long, also when it has completed or failed. `last`: it is changed no ' +
          'longer than that. ' +
          '`debounce`: from the last repeat to the start. `accumulate`: from the first payload to the start.',
      }),
    mode: z
      .enum(dedupeModes)
      .default('first')
      .meta({
        description:
          'What a repeat does: `first` nothing; `last` replaces the payload while the job waits; `debounce` also puts ' +
          'its start off; `accumulate` adds its payload, and the job runs once with `{payloads: [...]}`.',
      }),
  })
  .superRefine(({ mode, ttlMs }, ctx) => {
    if (mode !== 'debounce' || ttlMs !== undefined) return;
    ctx.addIssue({ code: 'custom', path: ['ttlMs'], message: 'is required with debounce' });
  })
  .meta({ id: 'Dedupe', description: 'Lets a job stand for others of the same id.' });
export type Dedupe = z.output<typeof Dedupe>;
