import { z } from 'zod';
import { MAX_DELAY_MS } from './limits.ts';
import { Timestamp } from './schemas.ts';

/** The wire types of what can be done to single jobs. */

export const MAX_GRACE_MS = 600_000;

export const CancelRequest = z
  .strictObject({
    reason: z
      .string()
      .min(1)
      .max(500)
      .default('cancelled on request')
      .meta({
        description: "Becomes the message of the job's error.",
        examples: ['the customer has left'],
      }),
    graceMs: z.int().min(0).max(MAX_GRACE_MS).default(5000).meta({
      description:
        'How long a running job may take to stop; then it is recorded as cancelled whatever its handler does.',
    }),
  })
  .meta({ id: 'CancelRequest', examples: [{ reason: 'the customer has left', graceMs: 5000 }] });
export type CancelRequest = z.output<typeof CancelRequest>;

export const JobPatch = z
  .strictObject({
    priority: z.int().min(0).max(9).optional(),
    runAt: Timestamp.nullable().optional().meta({ description: 'null, or a time in the past: now.' }),
    payload: z.unknown().optional().meta({ description: 'Takes the place of the payload as a whole.' }),
  })
  .superRefine((patch, ctx) => {
    if (Object.keys(patch).length === 0) ctx.addIssue({ code: 'custom', message: 'says nothing to change' });
    if (typeof patch.runAt === 'string' && Date.parse(patch.runAt) - Date.now() > MAX_DELAY_MS)
      ctx.addIssue({ code: 'custom', path: ['runAt'], message: 'is too far in the future' });
  })
  .meta({
    id: 'JobPatch',
    description: 'What of a waiting or delayed job is to become different; the rest stays.',
    examples: [{ priority: 9, runAt: null }],
  });
export type JobPatch = z.output<typeof JobPatch>;
