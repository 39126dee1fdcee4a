import type { JsonObject } from './schemas.ts';

/** Headers of an answer, by name and what they say. */
export function headerDocs(headers: Record<string, string>): JsonObject {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}
