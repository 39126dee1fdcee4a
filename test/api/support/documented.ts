import type { IncomingHttpHeaders } from 'node:http';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Engine } from '../../../queues/engine.ts';
import { createApiMetrics } from '../../../src/api/metrics.ts';
import { openApiDocument } from '../../../src/api/openapi/document.ts';
import { routeTable } from '../../../src/api/route-table.ts';

export interface SeenAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** The parsed body; undefined when it is not JSON. */
  json: any;
}

/**
 * Holds an answer against /openapi.json: its status and type of content must be there, and its body must fit. So every test
 * that calls the API also finds what the document leaves out. Paths that no route has are left alone.
 * @throws Error that says what is not documented
 */
export function assertDocumented(method: string, target: string, answer: SeenAnswer): void {
  const operation = operationOf(method, target);
  if (operation === undefined || answer.status === 0) return;
  const [path, name] = operation;
  const call = `${method} ${target}`;
  const response = document.paths[path][name].responses[answer.status];
  if (response === undefined) throw new Error(`${call} may not answer ${answer.status}: ${answer.text}`);
  const type = answer.headers['content-type']?.split(';')[0] ?? '';
  if (answer.text === '' && response.content === undefined) return;
  if (response.content?.[type] === undefined) throw new Error(`${call} may not answer with ${type}`);
  if (answer.json === undefined) return;
  const place = [path, name, 'responses', String(answer.status), 'content', type].map(escaped).join('/');
  const validate = ajv.getSchema(`waggle#/paths/${place}/schema`);
  if (validate?.(answer.json)) return;
  throw new Error(
    `${call} answers what is not documented: ${ajv.errorsText(validate?.errors)}\n${answer.text}`,
  );
}

/** Routes touch the engine only when they are called, and here none is. */
const document = openApiDocument(routeTable({ engine: {} as Engine }, createApiMetrics({} as Engine))) as any;
const ajv = new Ajv2020({ strict: false, formats: { 'date-time': true } });
ajv.addSchema(document, 'waggle');

/** Paths as patterns; those with fewer parameters first, as `/v1/jobs/batch` is no job. */
const templates = Object.keys(document.paths as object)
  .map((path) => ({ path, pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`) }))
  .sort((one, other) => one.path.split('{').length - other.path.split('{').length);

function operationOf(method: string, target: string): [path: string, method: string] | undefined {
  const pathname = target.split('?')[0] ?? '';
  const name = method.toLowerCase();
  const template = templates.find(
    ({ path, pattern }) => pattern.test(pathname) && document.paths[path][name],
  );
  return template && [template.path, name];
}

/** A JSON pointer's part in a URI fragment. */
export function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
}
