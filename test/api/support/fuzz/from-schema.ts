import fc from 'fast-check';

export type JsonSchema = Record<string, any>;

/** Values that a JSON Schema of the API's document allows. */
export type Valid = (schema: JsonSchema) => fc.Arbitrary<unknown>;

const COMPONENT = '#/components/schemas/';
/** Optional fields of an object at a time: with all of them two would nearly always exclude each other. */
const OPTIONAL_AT_ONCE = 3;
/** Trees are rare among twenty fields, and worth more than one in twenty. */
const RECURSIVE_WEIGHT = 5;
const LONGEST = 300;

/** What makes values for the schemas of an OpenAPI document. */
export function validValues(components: Record<string, JsonSchema>): Valid {
  const named = fc.letrec((tie) =>
    Object.fromEntries(
      Object.entries(components).map(([name, schema]) => [name, arbitraryOf(schema, (ref) => tie(ref))]),
    ),
  );
  return (schema) => arbitraryOf(schema, (name) => named[name] ?? fc.constant(null));
}

type Refer = (name: string) => fc.Arbitrary<unknown>;

/** Examples stand for what callers send as a rule, so they come often: most random names name nothing. */
function arbitraryOf(schema: JsonSchema, refer: Refer): fc.Arbitrary<unknown> {
  const random = randomOf(schema, refer);
  const examples = schema['examples'] as unknown[] | undefined;
  if (examples === undefined) return random;
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...examples) },
    { weight: schema['type'] === 'object' ? 12 : 1, arbitrary: random },
  );
}

function randomOf(schema: JsonSchema, refer: Refer): fc.Arbitrary<unknown> {
  if (schema['$ref'] !== undefined) return refer((schema['$ref'] as string).slice(COMPONENT.length));
  if (schema['enum'] !== undefined) return fc.constantFrom(...(schema['enum'] as unknown[]));
  if ('const' in schema) return fc.constant(schema['const']);
  const choices = (schema['anyOf'] ?? schema['oneOf']) as JsonSchema[] | undefined;
  if (choices !== undefined) return fc.oneof(...choices.map((choice) => arbitraryOf(choice, refer)));
  switch (schema['type']) {
    case 'string':
      return textOf(schema);
    case 'integer':
      return fc.integer({ min: schema['minimum'] ?? -(2 ** 31), max: schema['maximum'] ?? 2 ** 31 });
    case 'number':
      return fc.double({ min: schema['minimum'] ?? -1e9, max: schema['maximum'] ?? 1e9, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(arbitraryOf(schema['items'] ?? {}, refer), {
        minLength: schema['minItems'] ?? 0,
        maxLength: Math.min(schema['maxItems'] ?? 3, 3),
      });
    case 'object':
      return objectOf(schema, refer);
    default:
      return fc.jsonValue({ maxDepth: 3 });
  }
}

function textOf({ format, pattern, minLength = 0, maxLength = LONGEST }: JsonSchema): fc.Arbitrary<unknown> {
  if (format === 'date-time') {
    return fc.date({ noInvalidDate: true, min: new Date(0) }).map((date) => date.toISOString());
  }
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern as string));
  return fc.string({ minLength, maxLength: Math.min(maxLength, LONGEST), unit: 'grapheme' });
}

function objectOf(schema: JsonSchema, refer: Refer): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties, propertyNames } = schema;
  const fields = Object.entries(properties as Record<string, JsonSchema>);
  const field = ([name, of]: [string, JsonSchema]): fc.Arbitrary<[string, unknown]> =>
    arbitraryOf(of, refer).map((value) => [name, value]);
  const needed = fields.filter(([name]) => (required as string[]).includes(name)).map(field);
  const others = fields
    .filter(([name]) => !(required as string[]).includes(name))
    .map((entry) => ({ weight: isRecursive(entry[1]) ? RECURSIVE_WEIGHT : 1, arbitrary: field(entry) }));
  if (typeof additionalProperties === 'object') {
    const name = textOf((propertyNames as JsonSchema) ?? {}) as fc.Arbitrary<string>;
    others.push({ weight: 1, arbitrary: fc.tuple(name, arbitraryOf(additionalProperties, refer)) });
  }
  const optional =
    others.length === 0 ? fc.constant([]) : fc.array(fc.oneof(...others), { maxLength: OPTIONAL_AT_ONCE });
  return fc
    .tuple(fc.tuple(...needed), optional)
    .map(([always, some]) => Object.fromEntries([...always, ...some]) as object);
}

function isRecursive(schema: JsonSchema): boolean {
  return schema['type'] === 'array' && schema['items']?.['$ref'] !== undefined;
}
