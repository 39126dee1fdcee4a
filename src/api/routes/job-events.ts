import { z } from 'zod';
import { JobStreamEvent, LogPage, LogQuery, StreamQuery } from '../../shared/stream-schemas.ts';
import { NDJSON_EVENTS, sendEvents, SSE } from '../http/event-stream.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const JobId = z.string().meta({ description: 'Job id.', examples: ['default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'] });

/** What happens to a job and what its handlers write: as it comes, and to read it later. */
export function jobEventRoutes({ engine }: RouteDeps): Route[] {
  const stream = defineRoute({
    method: 'get',
    path: '/v1/jobs/{id}/stream',
    operationId: 'followJob',
    summary: 'What happens to a job, as it happens',
    description:
      'Begins with the present state and what was written so far, ends with `result` or `error`. The id of any event says ' +
      'where to go on, on any server; ids grow, and nothing that was told is told again. Of states that came and went while ' +
      'nobody read, only the last start of the job is told. A stream that ends before `result` or `error` is to be asked for ' +
      'again. Server-sent events unless `Accept` prefers `application/x-ndjson`; there an empty line says that the server is ' +
      'still there.',
    tag: 'jobs',
    access: 'jobs:read',
    params: { id: JobId },
    query: StreamQuery,
    requestHeaders: [{ name: 'Last-Event-ID', description: 'The id of the last event that arrived.' }],
    responses: {
      200: {
        description: 'The events.',
        schema: JobStreamEvent,
        contentType: SSE.type,
        otherTypes: [NDJSON_EVENTS.type],
      },
      204: { description: 'The last event that arrived was the end.' },
    },
    problems: ['not_found'],
    async handle({ tenant, params, query, req, hurry }) {
      // A browser that reconnects repeats the address it was given first.
      const lastEventId = req.get('Last-Event-ID') || query.lastEventId;
      const signal = hurry();
      const events = await engine.streams.follow(tenant, params['id'] ?? '', { lastEventId, signal });
      if (events === null) return { status: 204 };
      const format = req.accepts([SSE.type, NDJSON_EVENTS.type]) === NDJSON_EVENTS.type ? NDJSON_EVENTS : SSE;
      return {
        status: 200,
        headers: { Vary: 'Accept' },
        stream: (res) => sendEvents(res, events, format),
      };
    },
  });

  const logs = defineRoute({
    method: 'get',
    path: '/v1/jobs/{id}/logs',
    operationId: 'listJobLogs',
    summary: 'A page of the lines a handler wrote, oldest first',
    tag: 'jobs',
    access: 'jobs:read',
    params: { id: JobId },
    query: LogQuery,
    responses: { 200: { description: 'A page; `nextCursor` is null on the last one.', schema: LogPage } },
    problems: ['not_found'],
    async handle({ tenant, params, query }) {
      return { status: 200, body: await engine.streams.logs(tenant, params['id'] ?? '', query) };
    },
  });

  return [stream, logs];
}
