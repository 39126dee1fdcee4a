import { expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Express } from 'express';
import type { Engine } from '../../queues/engine.ts';
import { createApp } from '../../src/api/app.ts';
import { createApiMetrics } from '../../src/api/metrics.ts';
import { expressPath } from '../../src/api/mount.ts';
import { openApiDocument } from '../../src/api/openapi/document.ts';
import { routeTable } from '../../src/api/route-table.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { apiSettings } from '../../src/shared/settings.ts';
import { escaped } from './support/documented.ts';

/** Routes touch the engine only when they are called, and here none is. */
const engine = {} as Engine;

const routes = routeTable({ engine }, createApiMetrics(engine));
const document = openApiDocument(routes) as any;
const operations = Object.entries(document.paths as Record<string, Record<string, any>>).flatMap(
  ([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

const ajv = new Ajv2020({ strict: false, allErrors: true, formats: { 'date-time': true } });
ajv.addSchema(document, 'waggle');

function faultsOf(pointer: string, value: unknown): unknown[] {
  const validate = ajv.getSchema(`waggle${pointer}`);
  if (validate === undefined) throw new Error(`there is no schema at ${pointer}`);
  return validate(value) ? [] : (validate.errors ?? []);
}

/** Everything with a media type: what operations take and give. */
function contents(): { at: string; schemaAt: string; content: any }[] {
  return operations.flatMap(({ path, method, operation }) => {
    const bodies = [
      ['requestBody', operation.requestBody],
      ...Object.entries(operation.responses).map(([status, answer]) => [`responses/${status}`, answer]),
    ] as [string, any][];
    return bodies.flatMap(([place, body]) =>
      Object.entries<any>(body?.content ?? {}).map(([type, content]) => ({
        at: `${method} ${path} ${place} ${type}`,
        schemaAt: `#/paths/${escaped(path)}/${method}/${place}/content/${escaped(type)}/schema`,
        content,
      })),
    );
  });
}

function mountedRoutes(app: Express): string[] {
  const stack = app.router.stack as unknown as {
    route?: { path: string; methods: Record<string, boolean> };
  }[];
  return stack.flatMap(({ route }) =>
    route === undefined ? [] : Object.keys(route.methods).map((method) => `${method} ${route.path}`),
  );
}

test('every mounted route is in the document and the other way round', () => {
  const app = createApp({
    engine,
    settings: apiSettings({ WAGGLE_ADMIN_TOKEN: 'x'.repeat(16) }),
    logger: createLogger({ level: 'silent', name: 'test' }),
  });
  const documented = operations.map(({ path, method }) => `${method} ${expressPath(path)}`);
  expect(mountedRoutes(app).sort()).toEqual(documented.sort());
  expect(documented.length).toBeGreaterThanOrEqual(14);
});

test('what may come without its body says so', () => {
  const bare = operations.filter(({ operation }) => operation.requestBody?.required === false);
  expect(bare.map(({ operation }) => operation.operationId)).toEqual([
    'redriveDeadLetters',
    'cancelJob',
    'pauseTenant',
    'createApiKey',
  ]);
  expect(operations.filter(({ operation }) => '429' in operation.responses).length).toBeGreaterThanOrEqual(2);
});

test('a validator that is not ours takes the document for OpenAPI 3.1', async () => {
  const validator = new Validator();
  expect(await validator.validate(structuredClone(document))).toEqual({ valid: true });
  expect(validator.version).toBe('3.1');
});

test('every operation shows what it takes and gives, and all that is shown fits its schema', () => {
  let checked = 0;
  for (const { at, schemaAt, content } of contents()) {
    const shown: unknown[] =
      'examples' in content
        ? Object.values<any>(content.examples).map(({ value }) => value as unknown)
        : [content.example];
    for (const example of shown) {
      expect([at, faultsOf(schemaAt, example)]).toEqual([at, []]);
      checked++;
    }
  }
  for (const [name, schema] of Object.entries<any>(document.components.schemas)) {
    for (const example of schema.examples ?? [])
      expect([name, faultsOf(`#/components/schemas/${name}`, example)]).toEqual([name, []]);
  }
  expect(checked).toBeGreaterThan(100);
});

test('requests that are shown pass the validation of the server', () => {
  for (const { path, method, bodyDoc } of routes) {
    if (bodyDoc === undefined) continue;
    const { example } = document.paths[path][method].requestBody.content['application/json'];
    expect([path, bodyDoc.safeParse(example).error]).toEqual([path, undefined]);
  }
});

test('every operation says who may call it and what each failure may be', () => {
  const credentials = ['apiKey', 'jwt', 'adminToken'];
  for (const { path, operation } of operations) {
    expect([path, operation.summary]).toEqual([path, expect.stringMatching(/^[A-Z].{5,}[^.]$/)]);
    const open = operation.security.flatMap((requirement: object) => Object.keys(requirement));
    expect([path, [[], ['adminToken'], credentials]]).toEqual([path, expect.arrayContaining([open])]);
    for (const [status, { content }] of Object.entries<any>(operation.responses)) {
      if (Number(status) < 400) continue;
      const { schema, examples } = content['application/problem+json'];
      expect(Object.keys(examples)).toEqual(schema.properties.code.enum);
      for (const [code, { value }] of Object.entries<any>(examples))
        expect(value).toMatchObject({ code, status: Number(status), title: expect.any(String) });
    }
    for (const parameter of operation.parameters ?? [])
      if (parameter.in === 'path')
        expect([path, parameter.schema.examples]).toEqual([path, expect.any(Array)]);
  }
});

test('the document has the members its readers look for', () => {
  expect(document.openapi).toBe('3.1.0');
  expect(document.info).toMatchObject({ title: 'Waggle', version: '1', description: expect.any(String) });
  const declaredTags = document.tags.map((tag: { name: string }) => tag.name);
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { operation } of operations) {
    expect(declaredTags).toEqual(expect.arrayContaining(operation.tags));
    expect(Object.keys(operation.responses).length).toBeGreaterThan(0);
    for (const [status, response] of Object.entries<any>(operation.responses)) {
      expect(status).toMatch(/^[2-5]\d\d$/);
      expect(response.description).not.toBe('');
      if (Number(status) >= 400) expect(Object.keys(response.content)).toEqual(['application/problem+json']);
      if (status === '429') expect(response.headers).toHaveProperty('RateLimit-Policy');
      if (['429', '503'].includes(status)) expect(response.headers).toHaveProperty('Retry-After');
    }
    for (const requirement of operation.security) {
      for (const scheme of Object.keys(requirement))
        expect(document.components.securitySchemes).toHaveProperty(scheme);
    }
  }
});

test('path parameters are declared where they stand, and parameters only once', () => {
  for (const { path, operation } of operations) {
    const parameters = (operation.parameters ?? []) as {
      name: string;
      in: string;
      required: boolean;
      schema: object;
    }[];
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const declared = parameters.filter((parameter) => parameter.in === 'path');
    expect(declared.map((parameter) => parameter.name)).toEqual(inPath);
    expect(declared.every((parameter) => parameter.required)).toBe(true);
    const names = parameters.map((parameter) => `${parameter.in} ${parameter.name.toLowerCase()}`);
    expect(new Set(names).size).toBe(names.length);
    for (const parameter of parameters) expect(parameter.schema).toEqual(expect.any(Object));
  }
});

test('every reference leads to a component, and every component is referred to', () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(
    (match) => match[1] ?? '',
  );
  const components = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`);
  expect([...new Set(references)].sort()).toEqual(components.sort());
  for (const name of Object.keys(document.components.schemas)) expect(name).toMatch(/^[A-Za-z0-9._-]+$/);
});

test('nothing of another dialect is left in the schemas', () => {
  const text = JSON.stringify(document);
  for (const keyword of ['$defs', '$schema', '"nullable"', '#/definitions'])
    expect(text).not.toContain(keyword);
});

test('bodies and filters are documented in full', () => {
  const { schemas } = document.components;
  expect(Object.keys(schemas.JobRequest.properties)).toEqual(
    expect.arrayContaining(['task', 'payload', 'backoff']),
  );
  expect(schemas.JobRequest.required).toEqual(['task']);
  expect(schemas.BatchRequest.properties.jobs.items).toEqual({ $ref: '#/components/schemas/JobRequest' });
  expect(schemas.FlowTree.properties.children.items).toEqual({ $ref: '#/components/schemas/FlowTree' });
  const list = document.paths['/v1/jobs'].get.parameters.map((parameter: { name: string }) => parameter.name);
  expect(list).toEqual(
    expect.arrayContaining(['state', 'task', 'queue', 'tag', 'limit', 'cursor', 'X-Tenant-Id']),
  );
});
