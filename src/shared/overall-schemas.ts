import { z } from 'zod';
import { MaxRunning, Rate } from './tenant-schemas.ts';

/** The wire types of what whole queues and tasks may do. See schemas.ts for the rules of all wire types. */

export const OverallLimits = z
  .strictObject({
    maxRunning: MaxRunning.default(null),
    rate: Rate.nullable().default(null),
  })
  .meta({
    id: 'OverallLimits',
    description: 'What holds over all tenants, beside the limits of each.',
    examples: [{ maxRunning: 3, rate: { limit: 50, periodMs: 1000, burst: 10 } }],
  });
export type OverallLimits = z.output<typeof OverallLimits>;
export type OverallLimitsInput = z.input<typeof OverallLimits>;

export const Limited = z
  .strictObject({
    name: z.string(),
    maxRunning: z.int().nullable(),
    rate: Rate.nullable(),
    configured: z.boolean().meta({ description: 'False while nobody has set limits for it.' }),
    createdAt: z.iso.datetime().nullable(),
    updatedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Limited', description: 'A queue or task, and what it may do over all tenants.' });
export type Limited = z.output<typeof Limited>;
