import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = '00f067aa0ba902b7';
const TENANT = { 'X-Tenant-Id': 'acme' };

interface SeenSpan {
  service: string;
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  kind: number;
  failed: boolean;
  attributes: Record<string, unknown>;
}

const servers: Server[] = [];
let running: { stop(): unknown }[] = [];

afterEach(async () => {
  await Promise.all(running.map((one) => one.stop()));
  running = [];
  for (const server of servers.splice(0)) server.close();
});

/** Takes what the processes export, as OTLP over HTTP in JSON. */
async function collector(): Promise<{ url: string; spans: SeenSpan[] }> {
  const spans: SeenSpan[] = [];
  const server = createServer((req, res) => {
    expect(req.url).toBe('/v1/traces');
    void json(req).then((body) => {
      spans.push(...spansOf(body));
      res.setHeader('Content-Type', 'application/json').end('{}');
    });
  });
  return { url: await listen(server), spans };
}

function spansOf(body: any): SeenSpan[] {
  return body.resourceSpans.flatMap((resource: any) =>
    resource.scopeSpans.flatMap((scope: any) =>
      scope.spans.map((span: any) => ({
        service: attributesOf(resource.resource)['service.name'],
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        kind: span.kind,
        failed: span.status.code === 2,
        attributes: attributesOf(span),
      })),
    ),
  );
}

function attributesOf({ attributes }: { attributes: any[] }): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value as object)[0]]));
}

/** A service that a job calls; it answers with the trace context it was given. */
async function target(): Promise<string> {
  return listen(createServer((req, res) => res.end(String(req.headers['traceparent']))));
}

function listen(server: Server): Promise<string> {
  servers.push(server);
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () =>
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    );
  });
}

const sayLoaded = { NODE_OPTIONS: '--import ./test/api/fixtures/say-loaded-packages.mjs' };

/** The packages of OpenTelemetry that each of the processes had loaded when it ended. */
async function loadedBy(processes: readonly EntryProcess[]): Promise<unknown[]> {
  const lines = await Promise.all(processes.map((one) => one.logged('loaded')));
  return lines.map(({ packages }) => packages);
}

async function start(env: Record<string, string>): Promise<{ api: Api; worker: EntryProcess }> {
  const redisUrl = await freshRedisUrl();
  const api = await startApi(redisUrl, env);
  const worker = startWorker(redisUrl, { WAGGLE_ALLOW_PRIVATE_TARGETS: '1', ...env });
  running.push(api, worker);
  return { api, worker };
}

function call(api: Api, url: string, headers: Record<string, string> = {}) {
  const body = { task: 'http.request', payload: { url } };
  return api.admin('POST', '/v1/jobs', { headers: { ...TENANT, Prefer: 'wait=60', ...headers }, body });
}

test('one trace goes from the caller over the API, the job and its call to the service that is called', async () => {
  const { url, spans } = await collector();
  const { api, worker } = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: url, ...sayLoaded });
  const given = { traceparent: `00-${TRACE}-${CALLER}-01` };
  const answer = await call(api, await target(), given);
  expect(answer.json).toMatchObject({ state: 'completed', correlationId: TRACE });
  const tree = {
    task: 'fail',
    payload: { message: 'no', times: 9 },
    attempts: 1,
    children: [{ task: 'echo' }],
  };
  const flow = await api.admin('POST', '/v1/flows', { headers: TENANT, body: { tree } });
  await api.admin('GET', `/v1/jobs/${flow.json.id}?wait=60`, { headers: TENANT });
  await api.call('GET', '/livez');
  // What ends sends what it has.
  await Promise.all([api.stop(), worker.stop()]);

  const find = (name: string, parent?: string): SeenSpan | undefined =>
    spans.find((span) => span.name === name && (parent === undefined || span.parentSpanId === parent));
  const request = find('POST /v1/jobs');
  expect(request).toMatchObject({ service: 'waggle-api', traceId: TRACE, parentSpanId: CALLER, kind: 2 });
  expect(request?.attributes).toMatchObject({ 'http.route': '/v1/jobs', 'waggle.tenant': 'acme' });
  const job = find('process http.request');
  expect(job).toMatchObject({
    service: 'waggle-worker',
    traceId: TRACE,
    parentSpanId: request?.spanId,
    kind: 5,
  });
  expect(job?.attributes).toMatchObject({
    'messaging.message.id': answer.json.id,
    'waggle.outcome': 'complete',
  });
  const called = find('GET', job?.spanId);
  expect(called).toMatchObject({ service: 'waggle-worker', traceId: TRACE, kind: 3, failed: false });
  expect(answer.json.result.body).toBe(`00-${TRACE}-${called?.spanId}-01`);

  const logged = await api.process.logged('request completed');
  expect(logged).toMatchObject({ trace_id: TRACE, span_id: request?.spanId });
  expect(await loadedBy([api.process, worker])).toEqual([
    expect.arrayContaining(['@opentelemetry/sdk-trace-base']),
    expect.arrayContaining(['@opentelemetry/sdk-trace-base']),
  ]);

  const posted = find('POST /v1/flows');
  expect(posted).toMatchObject({ parentSpanId: '', traceId: expect.not.stringContaining(TRACE) });
  expect(find('process echo')).toMatchObject({ traceId: posted?.traceId, parentSpanId: posted?.spanId });
  const failed = find('process fail');
  expect(failed).toMatchObject({ traceId: posted?.traceId, failed: true });
  expect(await worker.logged('job failed')).toMatchObject({
    trace_id: posted?.traceId,
    span_id: failed?.spanId,
  });
  expect(spans.map(({ name }) => name).filter((name) => name.includes('livez'))).toEqual([]);
});

test('what the caller does not sample is not recorded, and everybody is told so', async () => {
  const { url, spans } = await collector();
  const { api, worker } = await start({
    WAGGLE_TRACING: '1',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`,
  });
  const answer = await call(api, await target(), { traceparent: `00-${TRACE}-${CALLER}-00` });
  expect(answer.json.result.body).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`));
  await Promise.all([api.stop(), worker.stop()]);
  expect(spans).toEqual([]);
});

test('with tracing off no part of it is loaded; the context of the caller is handed on as it is, and nonsense is not', async () => {
  const { api, worker } = await start(sayLoaded);
  const service = await target();
  const sent = async (traceparent: string): Promise<string> =>
    (await call(api, service, { traceparent })).json.result.body as string;
  expect(await sent(`00-${TRACE}-${CALLER}-01`)).toBe(`00-${TRACE}-${CALLER}-01`);
  expect(await sent(`cc-${TRACE}-${CALLER}-01-what-comes-later`)).toBe(`cc-${TRACE}-${CALLER}-01`);
  expect(await sent('__proto__')).toBe('undefined');
  expect(await sent(`00-${'0'.repeat(32)}-${CALLER}-01`)).toBe('undefined');
  expect(await api.process.logged('request completed')).toMatchObject({ trace_id: TRACE, span_id: CALLER });
  await Promise.all([api.stop(), worker.stop()]);
  expect(await loadedBy([api.process, worker])).toEqual([[], []]);
});

test('a collector that is away holds nothing up', async () => {
  const { api, worker } = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' });
  expect((await call(api, await target())).json).toMatchObject({ state: 'completed' });
  expect(await Promise.all([api.stop(), worker.stop()])).toEqual([0, 0]);
});
