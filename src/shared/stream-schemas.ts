import { z } from 'zod';
import { JobError, JobState, pageLimit } from './schemas.ts';

/** The wire types of what can be heard of a job while it runs. See schemas.ts for the rules of all wire types. */

const at = z.iso.datetime().meta({ description: 'When it happened.' });

const eventId = z.string().meta({
  description: 'No other event of the stream has it. Opaque, but for `Last-Event-ID`.',
});

const eventData = {
  state: z.strictObject({ state: JobState, at }),
  progress: z.strictObject({ progress: z.unknown(), at }),
  log: z.strictObject({ line: z.string(), at }),
  chunk: z.strictObject({ chunk: z.unknown().meta({ description: 'Text, or any JSON.' }), at }),
  result: z.strictObject({ result: z.unknown(), at }),
  error: z.strictObject({ error: JobError, at }),
};

function eventOf<K extends keyof typeof eventData>(
  event: K,
): z.ZodObject<{ id: z.ZodString; event: z.ZodLiteral<K>; data: (typeof eventData)[K] }, z.core.$strict> {
  return z.strictObject({ id: eventId, event: z.literal(event), data: eventData[event] });
}

export const JobStreamEvent = z
  .union([
    eventOf('state'),
    eventOf('progress'),
    eventOf('log'),
    eventOf('chunk'),
    eventOf('result'),
    eventOf('error'),
  ])
  .meta({
    id: 'JobStreamEvent',
    description: 'Something that happened to a job. `result` or `error` is the last of a stream.',
    examples: [
      {
        id: '1780000000000-0~0.active.1',
        event: 'chunk',
        data: { chunk: 'Hel', at: '2026-11-27T12:00:00.000Z' },
      },
    ],
  });
export type JobStreamEvent = z.output<typeof JobStreamEvent>;

export const StreamQuery = z.strictObject({
  lastEventId: z
    .string()
    .max(128)
    .optional()
    .meta({ description: 'As `Last-Event-ID`, for a first request that cannot set headers.' }),
});

export const LogQuery = z.strictObject({
  limit: pageLimit(1000, 100),
  cursor: z.string().min(1).max(128).optional(),
});
export type LogQuery = z.output<typeof LogQuery>;

export const LogLine = z.strictObject({
  at: z.iso.datetime().nullable().meta({ description: 'When it was written; null where nobody noted it.' }),
  line: z.string(),
});
export type LogLine = z.output<typeof LogLine>;

export const LogPage = z
  .strictObject({ lines: z.array(LogLine), nextCursor: z.string().nullable() })
  .meta({ id: 'LogPage', description: 'Lines a handler wrote, oldest first; the last 1000 are kept.' });
export type LogPage = z.output<typeof LogPage>;
