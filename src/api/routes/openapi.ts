import { z } from 'zod';
import { openApiDocument } from '../openapi.ts';
import { defineRoute } from '../route.ts';
import type { Route } from '../route.ts';

/**
 * The document of all routes, itself included.
 * @param routes asked on the first request, when the table is complete
 */
export function openApiRoutes(routes: () => Route[]): Route[] {
  let document: string | undefined;
  const get = defineRoute({
    method: 'get',
    path: '/openapi.json',
    operationId: 'openapi',
    summary: 'This document',
    tag: 'operations',
    access: 'public',
    responses: {
      200: { description: 'An OpenAPI 3.1 document.', schema: z.record(z.string(), z.unknown()) },
    },
    handle() {
      document ??= JSON.stringify(openApiDocument(routes()));
      return { status: 200, text: { type: 'application/json; charset=utf-8', content: document } };
    },
  });
  return [get];
}
