import { z } from 'zod';
import { NDJSON } from '../http/body.ts';
import type { ResponseDoc, Route } from '../route.ts';
import { exampleOf } from './examples/registered.ts';
import { failures } from './failures.ts';
import { headerDocs } from './headers.ts';
import { SchemaComponents } from './schemas.ts';
import type { JsonObject } from './schemas.ts';
import { requirements, securitySchemes } from './security.ts';

const TAGS = [
  { name: 'jobs', description: 'Enqueue and look up jobs.' },
  { name: 'flows', description: 'Jobs that wait for other jobs.' },
  { name: 'tenants', description: 'Tenants, their keys, and what they use.' },
  { name: 'queues', description: 'What whole queues may do.' },
  { name: 'tasks', description: 'What whole tasks may do.' },
  { name: 'operations', description: 'Probes, metrics and this document.' },
];

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
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    tags: TAGS,
    paths,
    components: {
      securitySchemes,
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
    security: requirements(route.access),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.bodyDoc === undefined
      ? {}
      : {
          requestBody: {
            required: route.mayLackBody !== true,
            content: {
              'application/json': content(route.bodyDoc, components, 'input'),
              ...(route.ndjson && { [NDJSON]: content(route.ndjson.line, components, 'input') }),
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
                content(schema, components, 'output'),
              ]),
            ),
            ...(line && { [NDJSON]: content(line, components, 'output') }),
          },
        }),
  };
}

function content(schema: z.ZodType, components: SchemaComponents, io: 'input' | 'output'): JsonObject {
  const example = exampleOf(schema);
  return { schema: components.schema(schema, io), ...(example === undefined ? {} : { example }) };
}
