import fc from 'fast-check';
import { accessOf } from '../operations.ts';
import { validValues } from './from-schema.ts';
import type { JsonSchema, Valid } from './from-schema.ts';
import { jsonBytes } from './json-text.ts';
import { mutated } from './mutations.ts';
import { nastyText, nastyValue } from './nasty.ts';

/** What a hostile client may ask. `credential` says which token goes with it. */
export interface HostileRequest {
  method: string;
  target: string;
  headers: [string, string][];
  body: Buffer;
  credential: 'own' | 'admin' | 'none' | 'garbage';
}

/** What a request may name: objects of the hostile tenant, and those of another which it has learned of somehow. */
export interface Known {
  own: string[];
  foreign: string[];
}

interface Operation {
  method: string;
  path: string;
  access: string;
  parameters: { name: string; in: 'path' | 'query' | 'header'; schema: JsonSchema }[];
  bodies: Record<string, { schema: JsonSchema }>;
}

/** The admin's own tenant here: what it does must leave the others as they are, or they could not be compared. */
const SPARE_TENANT = 'spare';
const NOT_FOR_ADMIN = /victim|hostile|tenants\/(\*|%2a)|queues\/default|tasks\/echo/i;

/** Requests to every operation of the API's document, each nearly right, and some to nowhere. */
export function hostileRequests(document: JsonSchema, known: Known): fc.Arbitrary<HostileRequest> {
  const valid = validValues(document['components'].schemas as Record<string, JsonSchema>);
  const aimed = operationsOf(document).map((operation) => ({
    weight: weightOf(operation),
    arbitrary: requestTo(operation, valid, known),
  }));
  return fc
    .oneof(...aimed, { weight: 12, arbitrary: requestToNowhere(known) })
    .map(withShortWaits)
    .map(withSafeAdmin);
}

/** Jobs and flows are what tenants send; what only the admin may do is refused to them before it is looked at. */
function weightOf({ access, bodies }: Operation): number {
  if (access === 'admin' || access === 'public') return 1;
  return Object.keys(bodies).length > 0 ? 15 : 4;
}

function operationsOf(document: JsonSchema): Operation[] {
  return Object.entries(document['paths'] as Record<string, Record<string, any>>).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      access: accessOf(operation),
      parameters: operation.parameters ?? [],
      bodies: operation.requestBody?.content ?? {},
    })),
  );
}

function requestTo(operation: Operation, valid: Valid, known: Known): fc.Arbitrary<HostileRequest> {
  const { method, path, access } = operation;
  return fc
    .record({
      method: seldom(method, fc.constantFrom('GET', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE')),
      path: pathOf(operation, valid, known),
      query: queryOf(operation, valid, known),
      documented: headersOf(operation, known),
      content: contentOf(operation, valid),
      headers: seldom<[string, string][]>([], fc.array(oddHeader, { minLength: 1, maxLength: 2 })),
      credential: credentialFor(access),
    })
    .map(({ path: filled, query, documented, content, headers, ...request }) => ({
      ...request,
      target: query === '' ? filled : `${filled}?${query}`,
      headers: [...content.headers, ...documented, ...headers],
      body: content.body,
    }))
    .filter(({ target }) => target !== path || !path.includes('{'));
}

/** `usual` nine times of ten. */
function seldom<T>(usual: T, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 9, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: odd });
}

function credentialFor(access: string): fc.Arbitrary<HostileRequest['credential']> {
  const [usual, other] = access === 'admin' ? (['admin', 'own'] as const) : (['own', 'admin'] as const);
  return fc.oneof(
    { weight: 8, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(other, 'none' as const, 'garbage' as const) },
  );
}

/** As an id is made, in a queue that nobody uses: each of them another. */
const idOfNoJob = fc.stringMatching(/^[a-z][a-z0-9]{4,12}\.01JZ3QK0M4Y8W6T2N5R7[A-H]{6}$/);

function segment(schema: JsonSchema | undefined, valid: Valid, known: Known): fc.Arbitrary<string> {
  const text = fc.oneof(
    ...(schema === undefined ? [] : [{ weight: 3, arbitrary: valid(schema).map(String) }]),
    { weight: 3, arbitrary: fc.constantFrom(SPARE_TENANT, ...known.own) },
    { weight: 2, arbitrary: fc.constantFrom(...known.foreign) },
    { weight: 2, arbitrary: nastyText },
    { weight: 1, arbitrary: idOfNoJob },
  );
  return fc.tuple(text, fc.boolean()).map(([plain, encode]) => (encode ? percentEncoded(plain) : plain));
}

function pathOf({ path, parameters }: Operation, valid: Valid, known: Known): fc.Arbitrary<string> {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const segments = names.map((name) =>
    segment(parameters.find((one) => one.in === 'path' && one.name === name)?.schema, valid, known),
  );
  return fc.tuple(...segments).map((filled) => {
    const rest = [...filled];
    return path.replaceAll(/\{\w+\}/g, () => rest.shift() ?? '');
  });
}

function queryOf({ parameters }: Operation, valid: Valid, known: Known): fc.Arbitrary<string> {
  const documented = parameters
    .filter((one) => one.in === 'query')
    .map(({ name, schema }) => fc.tuple(fc.constant(name), segment(schema, valid, known)));
  const unknown = fc.tuple(nastyText.map(percentEncoded), segment(undefined, valid, known));
  const pair = documented.length === 0 ? unknown : fc.oneof(...documented, ...documented, unknown);
  const pairs = fc.array(pair, { maxLength: documented.length === 0 ? 1 : 3 });
  return fc
    .oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 6, arbitrary: pairs },
      { weight: 1, arbitrary: fc.tuple(pair, fc.constantFrom(2, 500)).map(repeated) },
    )
    .map((all) => all.map(([name, text]) => `${name}=${text}`).join('&'));
}

/** Many parameters, none of them twice but for two. */
function repeated([[name, text], times]: [[string, string], number]): [string, string][] {
  return Array.from({ length: times }, (_, n) => [times === 2 ? name : `${name.slice(0, 9)}${n}`, text]);
}

function headersOf({ parameters, access }: Operation, known: Known): fc.Arbitrary<[string, string][]> {
  const named = parameters.filter((one) => one.in === 'header' && one.name !== 'X-Tenant-Id');
  const header = fc.tuple(
    fc.constantFrom(...named.map((one) => one.name), 'X-Correlation-Id'),
    fc.oneof(
      nastyText,
      fc.constantFrom(
        'wait=0',
        'wait=1',
        'wait=-1',
        'wait=1e9, wait=0',
        'k1',
        'k2',
        ...known.own,
        '0-0',
        '9-9',
      ),
    ),
  );
  const tenant = access === 'public' || access === 'admin' ? [] : [['X-Tenant-Id', SPARE_TENANT]];
  return fc
    .tuple(fc.array(header, { maxLength: 1 }), seldom<string[][]>([], fc.constant(tenant)))
    .map((parts) => parts.flat() as [string, string][]);
}

interface Content {
  headers: [string, string][];
  body: Buffer;
}

function contentOf({ bodies }: Operation, valid: Valid): fc.Arbitrary<Content> {
  const json = bodies['application/json']?.schema;
  const line = bodies['application/x-ndjson']?.schema;
  const none = fc.constant<Content>({ headers: [], body: Buffer.alloc(0) });
  if (json === undefined)
    return seldom({ headers: [], body: Buffer.alloc(0) }, typed(nastyValue.map(jsonBytes)));
  const body = mutated(valid(json)).map(jsonBytes);
  return fc.oneof(
    { weight: 12, arbitrary: typed(body) },
    ...(line === undefined ? [] : [{ weight: 6, arbitrary: lines(mutated(valid(line)).map(jsonBytes)) }]),
    { weight: 2, arbitrary: typed(fc.tuple(body, fc.nat(), fc.nat(255)).map(withOtherByte)) },
    { weight: 1, arbitrary: typed(noJson) },
    { weight: 1, arbitrary: none },
  );
}

const noJson = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(fc.constantFrom('[', '{"a":', '[{"children":['), fc.integer({ min: 10, max: 20_000 }))
    .map(([open, depth]) => Buffer.from(open.repeat(depth))),
  fc
    .constantFrom(1, 300_000, 1_048_577)
    .map((size) => Buffer.from(`{"task":"echo","payload":"${'x'.repeat(size)}"}`)),
);

function typed(body: fc.Arbitrary<Buffer>): fc.Arbitrary<Content> {
  const odd = fc.oneof(
    fc.constantFrom(
      ...['text/html', 'json', 'application/json; charset=utf-16', 'multipart/form-data; boundary=x', ''],
      ...['application/x-ndjson', 'application/jsonx', 'application/json;;;', 'APPLICATION/JSON', '*/*'],
    ),
    nastyText,
  );
  return fc
    .tuple(body, seldom('application/json', odd), seldom('', fc.constantFrom('gzip', 'br', 'identity', 'x')))
    .map(([bytes, type, encoding]) => ({
      body: bytes,
      headers: [['Content-Type', type], ...(encoding === '' ? [] : [['Content-Encoding', encoding]])] as [
        string,
        string,
      ][],
    }));
}

function lines(line: fc.Arbitrary<Buffer>): fc.Arbitrary<Content> {
  return fc
    .tuple(fc.array(line, { maxLength: 6 }), fc.constantFrom('\n', '\r\n', '\n\n', '\r', '\u2028'))
    .map(([all, end]) => ({
      headers: [['Content-Type', 'application/x-ndjson']],
      body: Buffer.concat(all.flatMap((one) => [one, Buffer.from(end)])),
    }));
}

function withOtherByte([bytes, at, byte]: [Buffer, number, number]): Buffer {
  const changed = Buffer.from(bytes);
  if (changed.length > 0) changed[at % changed.length] = byte;
  return changed;
}

const oddHeader: fc.Arbitrary<[string, string]> = fc.tuple(
  fc.constantFrom(
    ...[
      'X-Tenant-Id',
      'Prefer',
      'X-Request-Id',
      'X-Correlation-Id',
      'traceparent',
      'Cookie',
      'Origin',
      'Accept',
    ],
    ...[
      'X-Forwarded-For',
      'X-Forwarded-Proto',
      'Forwarded',
      'Expect',
      'Range',
      'If-None-Match',
      'Upgrade',
      'TE',
    ],
    ...['X-HTTP-Method-Override', 'Authorization', 'Host', 'Last-Event-ID', 'Idempotency-Key', 'Keep-Alive'],
  ),
  fc.oneof(
    nastyText,
    fc.constantFrom(
      'victim',
      'hostile',
      'wait=0',
      'gzip',
      '100-continue',
      'PUT',
      'websocket',
      'bytes=0-0',
      '0',
    ),
  ),
);

/** To paths that are none of the document's, or are written in another way. */
function requestToNowhere(known: Known): fc.Arbitrary<HostileRequest> {
  const text = segment(undefined, () => nastyText, known);
  const target = fc.oneof(
    text.map((path) => `/${path}`),
    text.map((path) => `/v1/${path}`),
    text.map((path) => `/dashboard/${path}`),
    fc.constantFrom(
      ...[
        '//',
        '/v1//jobs',
        '/v1/jobs/',
        '/V1/JOBS',
        '/v1/jobs/..',
        '/v1/%6aobs',
        '/v1/jobs;x=1',
        '/v1/jobs%2f',
      ],
      ...[
        '/v1/jobs/../tenants',
        '/v1/jobs%2f..%2ftenants',
        '/./v1/jobs',
        '/v1\\jobs',
        '/v1/jobs/batch/',
        '/v1/jobs#x',
      ],
      ...['*', '?', '/?', 'v1/jobs', 'http://evil.example/v1/jobs', 'https:///v1/jobs', '/dashboard/login'],
      ...[
        '/%',
        '/%c0%af',
        '/%ff',
        '/docs',
        '/favicon.ico',
        '/.env',
        '/v1/jobs?%',
        '/v1/jobs?&&=&',
        '/v1/jobs?[',
      ],
    ),
  );
  return fc.record({
    method: fc.constantFrom(
      'GET',
      'POST',
      'PUT',
      'DELETE',
      'PATCH',
      'OPTIONS',
      'HEAD',
      'TRACE',
      'PROPFIND',
      'M-SEARCH',
    ),
    target,
    headers: fc.array(oddHeader, { maxLength: 3 }),
    body: fc.oneof(fc.constant(Buffer.alloc(0)), nastyValue.map(jsonBytes)),
    credential: credentialFor('public'),
  });
}

/** A long wait is a feature, and a test that honours each would take for ever. */
function withShortWaits(request: HostileRequest): HostileRequest {
  return {
    ...request,
    target: request.target.replaceAll(
      /(wait=)(\d)\d*/g,
      (_, name: string, digit: string) => `${name}${digit === '9' ? 1 : 0}`,
    ),
    headers: request.headers.map(([name, text]) => [name, text.replace(/(wait="?)(\d+)/, '$10')]),
  };
}

/** What would be the admin's, and meant for somebody whom the test watches, is sent by the hostile tenant instead. */
function withSafeAdmin(request: HostileRequest): HostileRequest {
  const said = [request.target, decoded(request.target), ...request.headers.flat()].join(' ');
  return request.credential === 'admin' && NOT_FOR_ADMIN.test(said)
    ? { ...request, credential: 'own' }
    : request;
}

export function decoded(target: string): string {
  return target.replaceAll(/(?:%[0-9a-f]{2})+/gi, (bytes) =>
    Buffer.from(bytes.replaceAll('%', ''), 'hex').toString(),
  );
}

function percentEncoded(text: string): string {
  return [...Buffer.from(text.slice(0, 1000))]
    .map((byte) => `%${byte.toString(16).padStart(2, '0')}`)
    .join('');
}
