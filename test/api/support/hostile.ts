import fc from 'fast-check';
import type { Engine } from '../../../queues/engine.ts';
import { createApiMetrics } from '../../../src/api/metrics.ts';
import { openApiDocument } from '../../../src/api/openapi/document.ts';
import { routeTable } from '../../../src/api/route-table.ts';

/** What a hostile client may put on the wire. `token` says which credential goes with it. */
export interface HostileRequest {
  method: string;
  target: string;
  headers: [string, string][];
  body: Buffer;
  token: 'own' | 'none' | 'garbage';
}

const JOB_ID = 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC';

/** Text that has broken parsers before. */
const nasty = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    '%',
    '%00',
    '%2e%2e%2f',
    '../../etc/passwd',
    '{wg:0}:default:1',
    '*',
    '\\r\\nX-Injected: 1',
    '%0d%0aX-Injected:%201',
    '💥',
    '\u2028',
    'NaN',
    '-1',
    '1e309',
    '9'.repeat(400),
    'null',
    "'; DROP TABLE jobs; --",
    'x'.repeat(3000),
    'y'.repeat(10_000),
    // As it looks, and is not: the first letter is Cyrillic, the last one of another width.
    '\u0430cme',
    'victi\uff4d',
    '\ud800',
    '\u202evictim',
    ':',
    '{}',
    '\u0000',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
);

const value: fc.Arbitrary<unknown> = fc.oneof(
  nasty,
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer(),
  fc.double(),
  fc.constantFrom(null, true, [], {}, -0, 2 ** 53, '2099-01-01T00:00:00Z', '0000-01-01T00:00:00Z'),
);

const jobField = fc.constantFrom(
  ...[
    'payload',
    'queue',
    'priority',
    'delayMs',
    'runAt',
    'attempts',
    'backoff',
    'timeoutMs',
    'ttlMs',
    'tags',
  ],
  ...['correlationId', 'retainMs', 'key', 'dedupe', 'tenant', 'id', 'jobId', 'parent', '__proto__', 'opts'],
);

/** Nearly valid jobs: most get past the first checks, so that the later ones are tried too. */
const job = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('echo', 'sleep', 'fail', 'http.request') },
      { weight: 1, arbitrary: value },
    ),
    fc.array(fc.tuple(jobField, value), { maxLength: 2 }),
  )
  .map(([task, fields]) => Object.fromEntries([['task', task], ['payload', { ms: 1 }], ...fields]) as object);

const tree = fc.letrec<{ node: object }>((tie) => ({
  node: fc
    .tuple(
      job,
      fc.option(fc.array(tie('node'), { maxLength: 3, depthIdentifier: 'tree' }), { nil: undefined }),
    )
    .map(([node, children]) => ({ ...node, ...(children === undefined ? {} : { children }) })),
})).node;

const batch = fc.array(fc.oneof(job, value), { maxLength: 5 }).map((jobs) => ({ jobs }));
const flow = tree.map((root) => ({ tree: root }));
const json = fc.oneof(job, batch, flow, value).map(serialised);

const body = fc.oneof(
  { weight: 6, arbitrary: json },
  // A valid body with one byte changed.
  {
    weight: 2,
    arbitrary: fc.tuple(json, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
      if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return bytes;
    }),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('[', '{"a":', '[{"children":['), fc.integer({ min: 10, max: 20_000 }))
      .map(([open, depth]) => Buffer.from(open.repeat(depth))),
  },
);

const identifier = fc.oneof(
  nasty,
  fc.constant(JOB_ID),
  fc.constant('default.'),
  fc.constant('.01JZ3QK0M4Y8W6T2N5R7S9V1XC'),
);
const segment = fc
  .tuple(identifier, fc.boolean())
  .map(([text, encode]) => (encode ? percentEncoded(text) : text));

const query = fc
  .array(
    fc.tuple(
      fc.constantFrom(
        'wait',
        'state',
        'task',
        'queue',
        'tag',
        'limit',
        'cursor',
        'flowId',
        '__proto__',
        'tenant',
      ),
      fc.oneof(segment, fc.constantFrom('0', '1', 'delayed', 'echo', '200', 'eyJ9')),
    ),
    { maxLength: 3 },
  )
  // A long wait is a feature, and a test that honours it would take for ever.
  .map((pairs) =>
    pairs.map(([name, text]) => `${name}=${name === 'wait' ? text.slice(0, 1) : text}`).join('&'),
  );

const target = fc
  .tuple(
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom('/v1/jobs', '/v1/jobs/batch', '/v1/flows') },
      { weight: 3, arbitrary: segment.map((id) => `/v1/jobs/${id}`) },
      { weight: 2, arbitrary: segment.map((id) => `/v1/flows/${id}`) },
      { weight: 1, arbitrary: segment.map((id) => `/v1/tenants/${id}`) },
      { weight: 1, arbitrary: segment.map((id) => `/v1/tenants/${id}/keys`) },
      { weight: 1, arbitrary: segment.map((name) => `/v1/queues/${name}`) },
      { weight: 1, arbitrary: segment.map((name) => `/v1/tasks/${name}`) },
      { weight: 1, arbitrary: segment.map((path) => `/${path}`) },
      { weight: 1, arbitrary: segment.map((path) => `/dashboard/${path}`) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          '//',
          '/v1//jobs',
          '/v1/jobs/',
          '*',
          'http://evil.example/v1/jobs',
          '/dashboard/login',
        ),
      },
    ),
    query,
  )
  .map(([path, search]) => (search === '' ? path : `${path}?${search}`));

const header = fc.tuple(
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
      'Content-Encoding',
      'Expect',
      'Range',
      'If-None-Match',
      'X-HTTP-Method-Override',
    ],
  ),
  fc.oneof(nasty, fc.constantFrom('victim', 'hostile', 'wait=0', 'wait=-1', 'gzip', '100-continue', 'PUT')),
);

const contentType = fc.oneof(
  { weight: 8, arbitrary: fc.constant('application/json') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'text/html',
      'application/json; charset=utf-16',
      'multipart/form-data',
      'json',
    ),
  },
  { weight: 1, arbitrary: nasty },
);

/** A body on the route it is made for, with a good credential: some of these must get through to the engine. */
const aimed: fc.Arbitrary<HostileRequest> = fc
  .tuple(
    fc.oneof(
      fc.record({ target: fc.constant('/v1/jobs'), content: job }),
      fc.record({ target: fc.constant('/v1/jobs/batch'), content: batch }),
      fc.record({ target: fc.constant('/v1/flows'), content: flow }),
    ),
    fc.array(header, { maxLength: 1 }),
  )
  .map(([{ target: path, content }, headers]) => ({
    method: 'POST',
    target: path,
    headers: [['Content-Type', 'application/json'], ...headers],
    body: serialised(content),
    token: 'own',
  }));

const wild: fc.Arbitrary<HostileRequest> = fc
  .record({
    method: fc.oneof(
      { weight: 5, arbitrary: fc.constant('POST') },
      { weight: 3, arbitrary: fc.constant('GET') },
      {
        weight: 1,
        arbitrary: fc.constantFrom('PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND'),
      },
    ),
    target,
    headers: fc.array(header, { maxLength: 3 }),
    body,
    type: contentType,
    token: fc.oneof(
      { weight: 8, arbitrary: fc.constant('own' as const) },
      { weight: 1, arbitrary: fc.constantFrom('none' as const, 'garbage' as const) },
    ),
  })
  .map(({ type, headers, ...request }) => ({ ...request, headers: [['Content-Type', type], ...headers] }));

/** Every operation there is, as the API's own document describes it, with the example of its body. */
const operations = Object.entries(
  openApiDocument(routeTable({ engine: {} as Engine }, createApiMetrics({} as Engine))).paths as Record<
    string,
    Record<string, Described>
  >,
).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { parameters = [], requestBody }]) => ({
    method: method.toUpperCase(),
    path,
    queries: parameters.filter((each) => each.in === 'query').map((each) => each.name),
    example: Object.values(requestBody?.content['application/json']?.examples ?? {})[0]?.value ?? {},
  })),
);

interface Described {
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { examples?: Record<string, { value: unknown }> }> };
}

/** The example of an operation with something wrong about it, in its path, its query or anywhere in its body. */
const described: fc.Arbitrary<HostileRequest> = fc
  .tuple(
    fc.constantFrom(...operations),
    segment,
    fc.array(fc.tuple(fc.nat(), segment), { maxLength: 2 }),
    fc.array(fc.tuple(fc.nat(), fc.oneof(value, nasty), fc.boolean()), { maxLength: 3 }),
  )
  .map(([{ method, path, queries, example }, id, search, changes]) => {
    const pairs = search.flatMap(([at, text]) => {
      const name = queries[at % Math.max(queries.length, 1)];
      return name === undefined ? [] : [`${name}=${name === 'wait' ? text.slice(0, 1) : text}`];
    });
    const place = path.replaceAll(/\{\w+\}/g, () => id);
    return {
      method,
      target: pairs.length > 0 ? `${place}?${pairs.join('&')}` : place,
      headers: [['Content-Type', 'application/json']],
      body: method === 'GET' ? Buffer.alloc(0) : serialised(changed(example, changes)),
      token: 'own',
    };
  });

/** A copy of a value in which some of its places, by their numbers, have another content, or something beside them. */
function changed(example: unknown, changes: readonly [number, unknown, boolean][]): unknown {
  const copy = structuredClone(example);
  for (const [at, content, isAdded] of changes) {
    const places: [Record<string, unknown>, string][] = [];
    const visit = (node: unknown): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const key of Object.keys(node)) {
        places.push([node as Record<string, unknown>, key]);
        visit((node as Record<string, unknown>)[key]);
      }
    };
    visit(copy);
    const [parent, key] = places[at % Math.max(places.length, 1)] ?? [{}, ''];
    if (isAdded && !Array.isArray(parent))
      Object.defineProperty(parent, String(content), { value: 1, enumerable: true });
    else parent[key] = content;
  }
  return copy;
}

export const hostileRequest: fc.Arbitrary<HostileRequest> = fc.oneof(
  { weight: 2, arbitrary: wild },
  { weight: 1, arbitrary: aimed },
  { weight: 2, arbitrary: described },
);

/** The request as bytes. Line breaks in a header stay what they are as text: splitting requests is the parser's test. */
export function onTheWire(request: HostileRequest, token: string): Buffer {
  const credential = { own: token, none: undefined, garbage: `${token}x` }[request.token];
  const lines = [
    `${request.method} ${request.target.replaceAll(/[\s\u0000-\u001f]/gu, '%20')} HTTP/1.1`,
    'Host: waggle.test',
    'Connection: close',
    ...(credential === undefined ? [] : [`Authorization: Bearer ${credential}`]),
    ...request.headers.map(([name, text]) => `${name}: ${text.replaceAll(/[\r\n]/g, ' ')}`),
    `Content-Length: ${request.body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), request.body]);
}

function percentEncoded(text: string): string {
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}

function serialised(content: unknown): Buffer {
  return Buffer.from(JSON.stringify(content) ?? '');
}
