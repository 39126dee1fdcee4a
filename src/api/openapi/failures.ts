import type { ErrorCode, FieldError } from '../../shared/errors.ts';
import { problemDocument, problems, WaggleError } from '../../shared/errors.ts';
import { Problem } from '../../shared/schemas.ts';
import type { Route } from '../route.ts';
import { headerDocs } from './headers.ts';
import type { SchemaComponents, JsonObject } from './schemas.ts';

const REQUEST_ID = '01JZ3QK0M3E5G7J9L1N3Q5S7V9';

/** Problems that name fields, and one they may name. */
const FIELD_ERRORS: Partial<Record<ErrorCode, FieldError>> = {
  validation: { path: 'priority', message: 'Too big: expected number to be <=9' },
  invalid_payload: { path: 'payload.ms', message: 'Invalid input: expected number, received string' },
};

const RETRY_AFTER = { 'Retry-After': 'Seconds after which to try again.' };

/** What answers with these statuses carry beside their problem. */
const HEADERS: Record<number, Record<string, string>> = {
  401: { 'WWW-Authenticate': 'How to bring a credential (RFC 6750).' },
  429: {
    ...RETRY_AFTER,
    RateLimit: 'What is left of the limit that was met, and when to look again.',
    'RateLimit-Policy': 'The limit that was met.',
  },
  503: RETRY_AFTER,
};

/** One answer per status, with the codes that may stand in it and an example of each. */
export function failures(route: Route, components: SchemaComponents): JsonObject {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of problemCodes(route)) {
    const { status } = problems[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [status, failure(status, codes, components)]),
  );
}

function failure(status: number, codes: readonly ErrorCode[], components: SchemaComponents): JsonObject {
  return {
    description: codes.map((code) => `\`${code}\`: ${problems[code].title}.`).join(' '),
    headers: headerDocs({ 'X-Request-Id': 'The id of the request.', ...HEADERS[status] }),
    content: {
      'application/problem+json': {
        schema: { ...components.schema(Problem, 'output'), properties: { code: { enum: codes } } },
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleProblem(code) }])),
      },
    },
  };
}

function exampleProblem(code: ErrorCode): object {
  const field = FIELD_ERRORS[code];
  const detail = field === undefined ? `${problems[code].title}.` : `${field.path}: ${field.message}`;
  const error = new WaggleError(code, detail, field === undefined ? {} : { errors: [field] });
  return problemDocument(error, REQUEST_ID);
}

function problemCodes(route: Route): ReadonlySet<ErrorCode> {
  const codes = new Set<ErrorCode>(route.problems);
  if (route.access !== 'public') {
    for (const code of ['unauthenticated', 'forbidden', 'validation', 'rate_limited'] as const)
      codes.add(code);
    for (const code of ['redis_unavailable', 'shutting_down'] as const) codes.add(code);
  }
  if (route.body !== undefined) {
    for (const code of ['malformed_json', 'payload_too_large', 'unsupported_media_type'] as const)
      codes.add(code);
  }
  codes.add('internal');
  return codes;
}
