import { expect, test } from '@jest/globals';
import { problemDocument, problems, WaggleError } from '../../src/shared/errors.ts';

test('every code of the contract has its status and a stable type', () => {
  const statuses = Object.fromEntries(Object.entries(problems).map(([code, kind]) => [code, kind.status]));
  expect(statuses).toEqual({
    validation: 400,
    malformed_json: 400,
    unauthenticated: 401,
    forbidden: 403,
    not_found: 404,
    conflict: 409,
    idempotency_in_progress: 409,
    job_not_in_state: 409,
    payload_too_large: 413,
    unsupported_media_type: 415,
    idempotency_key_reused: 422,
    unknown_task: 422,
    invalid_payload: 422,
    queue_full: 429,
    rate_limited: 429,
    internal: 500,
    redis_unavailable: 503,
    shutting_down: 503,
  });
  expect(problems.payload_too_large.type).toBe('/problems/payload-too-large');
});

test('an error becomes a problem document, with its fields and without its cause', () => {
  const error = new WaggleError('validation', 'task: is missing', {
    errors: [{ path: 'task', message: 'is missing' }],
    cause: new Error('inner'),
  });
  expect(error.status).toBe(400);
  expect(problemDocument(error, 'req-1')).toEqual({
    type: '/problems/validation',
    title: 'The request is not valid',
    status: 400,
    code: 'validation',
    detail: 'task: is missing',
    instance: 'req-1',
    errors: [{ path: 'task', message: 'is missing' }],
  });
  expect(problemDocument(new WaggleError('not_found', 'gone'))).not.toHaveProperty('errors');
});
