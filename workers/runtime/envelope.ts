import { z } from 'zod';
import type { JobEnvelope } from '../../queues/jobs/envelope.ts';

/**
 * Only what running a job relies on is checked: a job that was put into the queue by other means than the engine must
 * end as failed, not take the worker down.
 */
const schema = z.looseObject({
  tenant: z.string(),
  correlationId: z.string(),
  traceparent: z.string().optional(),
  tags: z.array(z.string()),
  timeoutMs: z.number().positive().nullable(),
  expiresAt: z.number().nullable(),
  retainMs: z.object({ completed: z.number().min(0), failed: z.number().min(0) }),
  flow: z.looseObject({ id: z.string(), name: z.string() }).nullable(),
});

/** The envelope in a job's body, or null when the body is none. */
export function parseEnvelope(body: unknown): JobEnvelope | null {
  const parsed = schema.safeParse(body);
  return parsed.success ? (parsed.data as unknown as JobEnvelope) : null;
}
