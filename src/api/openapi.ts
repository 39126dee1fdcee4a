import { z } from 'zod';
import { NDJSON } from './http/body.ts';
import type { ErrorCode } from '../shared/errors.ts';
import { problems } from '../shared/errors.ts';
import { Problem } from '../shared/schemas.ts';
import { SchemaComponents } from './openapi-schemas.ts';
import type { JsonObject } from './openapi-schemas.ts';
import type { ResponseDoc, Route } from './route.ts';

const TAGS = [
  { name: 'jobs', description: 'Enqueue and look up jobs.' },
  { name: 'flows', description: 'Jobs that wait for other jobs.' },
  { name: 'tenants', description: 'Tenants, their keys, and what they use.' },
  { name: 'queues', description: 'What whole queues may do.' },
  { name: 'tasks', description: 'What whole tasks may do.' },
  { name: 'operations', description: 'Probes, metrics and this document.' },
];

const LIMIT_HEADERS = {
  'Retry-After': 'Seconds after which to try again.',
  RateLimit: 'What is left of the limit that was met, and when to look again.',
  'RateLimit-Policy': 'The limit that was met.',
};

/** The OpenAPI 3.1 document of a route table. */
export function openApiDocument(routes: readonly Route[]): JsonObject {
  const components = new SchemaComponents();
  const paths: Record<string, JsonObject> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route, components) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Waggle',
      version: '1',
      description: 'Background work for many tenants: jobs and flows in, fair shares out.',
    },
    tags: TAGS,
    paths,
    components: {
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: "A tenant's API key, a JWT of a tenant where these are taken, or the admin token.",
        },
      },
      schemas: components.all(),
    },
  };
}

function operation(route: Route, components: SchemaComponents): JsonObject {
  const parameters = [
    ...pathParameters(route, components),
    ...queryParameters(route, components),
    ...headers(route),
  ];
  return {
    operationId: route.operationId,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    tags: [route.tag],
    // OpenAPI 3.1 lets any scheme list the roles or scopes it needs.
    security: route.access === 'public' ? [] : [{ bearer: [route.access] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.bodyDoc === undefined
      ? {}
      : {
          requestBody: {
            required: route.mayLackBody !== true,
            content: {
              'application/json': { schema: components.schema(route.bodyDoc, 'input') },
              ...(route.ndjson && { [NDJSON]: { schema: components.schema(route.ndjson.line, 'input') } }),
            },
          },
        }),
    responses: { ...successes(route, components), ...failures(route, components) },
  };
}

function pathParameters(route: Route, components: SchemaComponents): JsonObject[] {
  return Object.entries(route.params ?? {}).map(([name, schema]) => ({
    name,
    in: 'path',
    required: true,
    schema: components.schema(schema, 'input'),
  }));
}

function queryParameters(route: Route, components: SchemaComponents): JsonObject[] {
  if (!(route.query instanceof z.ZodObject)) return [];
  return Object.entries(route.query.shape as Record<string, z.ZodType>).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema: components.schema(schema, 'input'),
  }));
}

function headers(route: Route): JsonObject[] {
  const documented = [...(route.requestHeaders ?? [])];
  if (route.access !== 'public' && route.access !== 'admin') {
    documented.push({
      name: 'X-Tenant-Id',
      description: 'The tenant to act for; required with the admin token.',
    });
  }
  return documented.map(({ name, description }) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  }));
}

function successes(route: Route, components: SchemaComponents): JsonObject {
  return Object.fromEntries(
    Object.entries(route.responses).map(([status, doc]) => [
      status,
      response(doc, components, route.ndjson?.answerLine),
    ]),
  );
}

function response(doc: ResponseDoc, components: SchemaComponents, line?: z.ZodType): JsonObject {
  const { schema } = doc;
  return {
    description: doc.description,
    headers: headerDocs({ 'X-Request-Id': 'The id of the request.', ...doc.headers }),
    ...(schema === undefined
      ? {}
      : {
          content: {
            ...Object.fromEntries(
              [doc.contentType ?? 'application/json', ...(doc.otherTypes ?? [])].map((type) => [
                type,
                { schema: components.schema(schema, 'output') },
              ]),
            ),
            ...(line && { [NDJSON]: { schema: components.schema(line, 'output') } }),
          },
        }),
  };
}

function headerDocs(headers: Record<string, string>): JsonObject {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}

/** One answer per status; its description lists the codes that may stand in it. */
function failures(route: Route, components: SchemaComponents): JsonObject {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of problemCodes(route)) {
    const { status } = problems[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.map((code) => `\`${code}\`: ${problems[code].title}.`).join(' '),
        ...(status === 429 ? { headers: headerDocs(LIMIT_HEADERS) } : {}),
        content: { 'application/problem+json': { schema: components.schema(Problem, 'output') } },
      },
    ]),
  );
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
