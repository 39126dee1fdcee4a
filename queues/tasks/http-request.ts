import { z } from 'zod';
import { defineTask } from './define-task.ts';

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/;

function isHttpUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname } = new URL(value);
  return (protocol === 'http:' || protocol === 'https:') && hostname !== '';
}

/** One HTTP request; the response is the result. A `body` that is not a string is sent as JSON. */
export const httpRequest = defineTask({
  name: 'http.request',
  payload: z.strictObject({
    url: z.string().max(8192).refine(isHttpUrl, 'must be an http or https URL'),
    method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']).default('GET'),
    headers: z
      .record(
        z.string().regex(HEADER_NAME, 'is not a header name'),
        z.string().regex(HEADER_VALUE, 'is not a header value'),
      )
      .default({}),
    body: z.unknown().optional(),
  }),
  defaults: { attempts: 5, timeoutMs: 30_000 },
});
