import { z } from 'zod';
import { openApiDocument } from '../openapi/document.ts';
import { defineRoute } from '../route.ts';
import type { Route } from '../route.ts';

export const OPENAPI_PATH = '/openapi.json';

const OpenApi = z
  .record(z.string(), z.unknown())
  .meta({ examples: [{ openapi: '3.1.0', info: { title: 'Waggle', version: '1' }, paths: {} }] });

/**
 * The document of all routes, itself included.
 * @param routes asked on the first request, when the table is complete
 */
export function openApiRoutes(routes: () => Route[]): Route[] {
  let document: string | undefined;
  const get = defineRoute({
    method: 'get',
    path: OPENAPI_PATH,
    operationId: 'openapi',
    summary: 'This document',
    tag: 'operations',
    access: 'public',
    responses: {
      200: { description: 'An OpenAPI 3.1 document.', schema: OpenApi },
    },
    handle() {
      document ??= JSON.stringify(openApiDocument(routes()));
      return { status: 200, text: { type: 'application/json; charset=utf-8', content: document } };
    },
  });
  return [get];
}
