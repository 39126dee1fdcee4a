import { expect, test } from '@jest/globals';
import { apiSettings, SettingsError, workerSettings } from '../../src/shared/settings.ts';

const token = 'a-token-of-16-characters';

test('the documented defaults', () => {
  expect(apiSettings({ WAGGLE_ADMIN_TOKEN: token })).toMatchObject({
    redisUrl: 'redis://127.0.0.1:6379',
    port: 3000,
    shards: 4,
    adminToken: token,
    allowPrivateTargets: false,
    logLevel: 'info',
    jwt: null,
    access: { rate: 0, burst: 0, failures: 300, proxies: 0 },
    limits: { bodyBytes: 1024 * 1024, payloadBytes: 256 * 1024, batchJobs: 1000, flowNodes: 1000 },
  });
  expect(workerSettings({})).toEqual({
    redisUrl: 'redis://127.0.0.1:6379',
    shards: 4,
    allowPrivateTargets: false,
    logLevel: 'info',
    tracing: false,
    queues: ['default'],
    concurrency: 50,
    workerShards: [0, 1, 2, 3],
    port: 0,
    drainMs: 25_000,
    lockMs: 30_000,
    stalledMs: 30_000,
    resultBytes: 1024 * 1024,
  });
});

test('what is set is taken; an empty variable is not set', () => {
  expect(
    workerSettings({
      REDIS_URL: 'redis+cluster://a:7000,b:7001',
      WAGGLE_SHARDS: '8',
      WORKER_QUEUES: 'default, mail,default',
      WORKER_SHARDS: '7,1',
      WORKER_CONCURRENCY: '',
      WAGGLE_ALLOW_PRIVATE_TARGETS: '1',
      LOG_LEVEL: 'debug',
    }),
  ).toMatchObject({
    redisUrl: 'redis+cluster://a:7000,b:7001',
    shards: 8,
    queues: ['default', 'mail'],
    workerShards: [7, 1],
    concurrency: 50,
    allowPrivateTargets: true,
    logLevel: 'debug',
  });
});

test.each<[Record<string, string>, boolean]>([
  [{ WAGGLE_TRACING: '1' }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector/v1/traces' }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false],
  [{ WAGGLE_TRACING: '1', OTEL_SDK_DISABLED: 'true' }, false],
])('%j traces: %s', (env, tracing) => {
  expect(workerSettings(env).tracing).toBe(tracing);
  expect(apiSettings({ ...env, WAGGLE_ADMIN_TOKEN: token }).tracing).toBe(tracing);
});

test.each<[Record<string, string>, string]>([
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }, 'OTEL_EXPORTER_OTLP_ENDPOINT'],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_PROTOCOL'],
  [{ WAGGLE_TRACING: 'yes' }, 'WAGGLE_TRACING'],
  [{ REDIS_URL: 'localhost:6379' }, 'REDIS_URL'],
  [{ REDIS_URL: 'http://x' }, 'REDIS_URL'],
  [{ WAGGLE_SHARDS: '0' }, 'WAGGLE_SHARDS'],
  [{ WAGGLE_SHARDS: '4.5' }, 'WAGGLE_SHARDS'],
  [{ WAGGLE_SHARDS: '1e3' }, 'WAGGLE_SHARDS'],
  [{ LOG_LEVEL: 'loud' }, 'LOG_LEVEL'],
  [{ WAGGLE_ALLOW_PRIVATE_TARGETS: 'maybe' }, 'WAGGLE_ALLOW_PRIVATE_TARGETS'],
  [{ WORKER_QUEUES: 'UPPER' }, 'WORKER_QUEUES'],
  [{ WORKER_QUEUES: 'tenant' }, 'WORKER_QUEUES'],
  [{ WORKER_QUEUES: ',' }, 'WORKER_QUEUES'],
  [{ WORKER_SHARDS: '4' }, 'WORKER_SHARDS'],
  [{ WORKER_SHARDS: 'some' }, 'WORKER_SHARDS'],
  [{ WORKER_CONCURRENCY: '-1' }, 'WORKER_CONCURRENCY'],
  [{ WORKER_PORT: '70000' }, 'WORKER_PORT'],
])('%p is refused by name', (env, variable) => {
  expect(() => workerSettings(env)).toThrow(SettingsError);
  expect(() => workerSettings(env)).toThrow(variable);
});

test('every fault is named, and the token itself never', () => {
  const faults = (): unknown =>
    apiSettings({ WAGGLE_ADMIN_TOKEN: 'short-secret', PORT: 'x', LOG_LEVEL: 'y' });
  expect(faults).toThrow(/PORT/);
  expect(faults).toThrow(/LOG_LEVEL/);
  expect(faults).toThrow(/WAGGLE_ADMIN_TOKEN must have 16/);
  expect(faults).not.toThrow(/short-secret/);
  expect(() => apiSettings({})).toThrow(/WAGGLE_ADMIN_TOKEN is required/);
});

test('tokens of others: what is set is taken, and what makes no sense is named', () => {
  const settings = (env: Record<string, string>) => apiSettings({ WAGGLE_ADMIN_TOKEN: token, ...env });
  const secret = 'é'.repeat(16);
  expect(settings({ WAGGLE_JWT_SECRET: secret, WAGGLE_API_RATE: '20' })).toMatchObject({
    jwt: { secret, jwksUrl: null, issuer: null, audience: null },
    access: { rate: 20, burst: 20 },
  });
  const jwksUrl = 'https://issuer.example/jwks.json';
  expect(
    settings({
      WAGGLE_JWKS_URL: jwksUrl,
      WAGGLE_JWT_ISSUER: 'i',
      WAGGLE_JWT_AUDIENCE: 'a',
      WAGGLE_JWT_SECRET: '',
    }).jwt,
  ).toEqual({ secret: null, jwksUrl, issuer: 'i', audience: 'a' });
  for (const [name, value] of [
    ['WAGGLE_JWT_SECRET', 'x'.repeat(31)],
    ['WAGGLE_JWKS_URL', 'ftp://issuer'],
    ['WAGGLE_JWKS_URL', 'issuer.example/jwks'],
    ['WAGGLE_JWKS_URL', 'https://user:pass@issuer.example'],
    ['WAGGLE_JWT_ISSUER', 'i'],
    ['WAGGLE_JWT_AUDIENCE', 'a'],
    ['WAGGLE_API_RATE', '-1'],
    ['WAGGLE_AUTH_FAILURES', 'many'],
    ['WAGGLE_TRUST_PROXIES', '99'],
  ] as const) {
    expect(() => settings({ [name]: value })).toThrow(name);
  }
  expect(() => settings({ WAGGLE_JWT_SECRET: 'a-short-secret' })).not.toThrow('a-short-secret');
});
