import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

export type JsonObject = Record<string, unknown>;

const DEFINITION = '#/$defs/';
const COMPONENT = '#/components/schemas/';

/** Collects the named schemas (`.meta({ id })`) of a document under `components`, each once. */
export class SchemaComponents {
  readonly #schemas = new Map<string, JsonObject>();

  /**
   * The JSON Schema of what goes in or comes out, with references to components for everything in it that has a name.
   * Throws when a name already stands for something else: a schema whose input differs from its output needs two.
   */
  schema(schema: z.ZodType, io: 'input' | 'output'): JsonObject {
    // `unrepresentable: any`: a transform has no JSON Schema of its own; what it takes in is documented.
    const {
      $schema: _dialect,
      $defs = {},
      ...root
    } = z.toJSONSchema(schema, { target: 'draft-2020-12', io, unrepresentable: 'any' }) as JsonObject;
    for (const [name, body] of Object.entries($defs as Record<string, JsonObject>)) {
      this.#add(name, referringToComponents(body) as JsonObject);
    }
    return referringToComponents(root) as JsonObject;
  }

  /** All that was collected, by name. */
  all(): JsonObject {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #add(name: string, body: JsonObject): void {
    const known = this.#schemas.get(name);
    if (known !== undefined && !isDeepStrictEqual(known, body)) {
      throw new Error(`two different schemas are named ${name}`);
    }
    this.#schemas.set(name, body);
  }
}

function referringToComponents(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(referringToComponents);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      key === '$ref' && typeof item === 'string'
        ? item.replace(DEFINITION, COMPONENT)
        : referringToComponents(item),
    ]),
  );
}
