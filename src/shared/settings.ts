import { z } from 'zod';
import { QUEUE_NAME, RESERVED_QUEUES } from './ids.ts';
import { jwtSettings, jwtVariables, refuseIdleRules } from './jwt-settings.ts';
import type { JwtSettings } from './jwt-settings.ts';
import { DEFAULT_RESULT_BYTES, defaultLimits } from './limits.ts';
import type { Limits } from './limits.ts';
import type { LogLevel } from './logger.ts';

/** A setting of the environment is missing or wrong. The message names each variable; it never shows a secret's value. */
export class SettingsError extends Error {
  readonly variables: string[];

  constructor(message: string, variables: string[]) {
    super(message);
    this.name = 'SettingsError';
    this.variables = variables;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface CommonSettings {
  redisUrl: string;
  shards: number;
  allowPrivateTargets: boolean;
  logLevel: LogLevel;
  /** Whether spans are recorded and sent; where to, the SDK reads from the `OTEL_…` variables. */
  tracing: boolean;
}

export interface ApiSettings extends CommonSettings {
  port: number;
  adminToken: string;
  /** Null when no JWT is taken for a credential. */
  jwt: JwtSettings | null;
  access: AccessSettings;
  limits: Limits;
}

/** How much may be asked of one API process. */
export interface AccessSettings {
  /** Requests per second and credential; 0 = no limit. */
  rate: number;
  /** Requests of a credential that may come at once after a quiet time. */
  burst: number;
  /** Wrong tokens per minute and address; 0 = no limit. */
  failures: number;
  /** Proxies in front of the API whose `X-Forwarded-For` tells the address of a caller. */
  proxies: number;
}

export interface WorkerSettings extends CommonSettings {
  queues: string[];
  concurrency: number;
  /** Shard numbers this worker serves. */
  workerShards: number[];
  /** Port of the worker's own health server; 0 = none. */
  port: number;
  drainMs: number;
  lockMs: number;
  stalledMs: number;
  /** Bytes the result of a job may take as JSON. */
  resultBytes: number;
}

/** A whole number written in decimal digits: `Number('')` and `Number('1e3')` would both pass for one. */
function integer(fallback: number, min: number, max: number): z.ZodType<number, string | undefined> {
  return z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.number().int().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))
    .default(fallback);
}

const redisUrl = z
  .string()
  .refine(
    isRedisUrl,
    'must be a URL such as redis://host:6379, rediss://… or redis+cluster://host:port,host:port',
  )
  .default('redis://127.0.0.1:6379');

const flag = z
  .enum(['0', '1', 'false', 'true'], 'must be 0 or 1')
  .transform((value) => value === '1' || value === 'true')
  .default(false);

const otlpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional();

const sharedVariables = {
  REDIS_URL: redisUrl,
  WAGGLE_SHARDS: integer(4, 1, 1024),
  WAGGLE_ALLOW_PRIVATE_TARGETS: flag,
  WAGGLE_TRACING: flag,
  OTEL_EXPORTER_OTLP_ENDPOINT: otlpUrl,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: otlpUrl,
  OTEL_EXPORTER_OTLP_PROTOCOL: z.literal('http/json', 'must be http/json, the only one there is').optional(),
  OTEL_SDK_DISABLED: flag,
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'must be a pino level such as info')
    .default('info'),
};

const apiSchema = z.object({
  ...sharedVariables,
  ...jwtVariables,
  PORT: integer(3000, 0, 65535),
  WAGGLE_ADMIN_TOKEN: z
    .string('is required: 16 or more characters')
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .min(16, 'must have 16 or more characters'),
  WAGGLE_API_RATE: integer(0, 0, 1_000_000),
  WAGGLE_API_BURST: integer(0, 0, 1_000_000),
  WAGGLE_AUTH_FAILURES: integer(300, 0, 1_000_000),
  WAGGLE_TRUST_PROXIES: integer(0, 0, 16),
  WAGGLE_MAX_BODY_BYTES: integer(defaultLimits.bodyBytes, 1024, 256 * 1024 * 1024),
  WAGGLE_MAX_PAYLOAD_BYTES: integer(defaultLimits.payloadBytes, 64, 64 * 1024 * 1024),
  WAGGLE_MAX_BATCH_JOBS: integer(defaultLimits.batchJobs, 1, 100_000),
  WAGGLE_MAX_FLOW_NODES: integer(defaultLimits.flowNodes, 1, 100_000),
});

const workerSchema = z.object({
  ...sharedVariables,
  WORKER_QUEUES: z
    .string()
    .default('default')
    .transform((value) => unique(value.split(',').map((name) => name.trim())))
    .refine(
      (names) => names.every((name) => QUEUE_NAME.test(name) && !RESERVED_QUEUES.has(name)),
      'must be queue names separated by commas',
    ),
  WORKER_CONCURRENCY: integer(50, 1, 10_000),
  WORKER_SHARDS: z
    .string()
    .default('all')
    .refine(
      (value) => value === 'all' || /^\d{1,4}(,\d{1,4})*$/.test(value),
      'must be all or a list such as 0,2',
    ),
  WORKER_PORT: integer(0, 0, 65535),
  WORKER_DRAIN_MS: integer(25_000, 0, 3_600_000),
  WORKER_LOCK_MS: integer(30_000, 1000, 3_600_000),
  WORKER_STALLED_MS: integer(30_000, 500, 3_600_000),
  WAGGLE_MAX_RESULT_BYTES: integer(DEFAULT_RESULT_BYTES, 64, 64 * 1024 * 1024),
});

/** The API server's settings. Throws {@link SettingsError}. */
export function apiSettings(env: Environment): ApiSettings {
  const values = parseEnvironment(apiSchema.superRefine(refuseIdleRules), env);
  return {
    ...commonSettings(values),
    port: values.PORT,
    adminToken: values.WAGGLE_ADMIN_TOKEN,
    jwt: jwtSettings(values),
    access: {
      rate: values.WAGGLE_API_RATE,
      burst: values.WAGGLE_API_BURST || values.WAGGLE_API_RATE,
      failures: values.WAGGLE_AUTH_FAILURES,
      proxies: values.WAGGLE_TRUST_PROXIES,
    },
    limits: {
      ...defaultLimits,
      bodyBytes: values.WAGGLE_MAX_BODY_BYTES,
      payloadBytes: values.WAGGLE_MAX_PAYLOAD_BYTES,
      batchJobs: values.WAGGLE_MAX_BATCH_JOBS,
      flowNodes: values.WAGGLE_MAX_FLOW_NODES,
    },
  };
}

/** A worker's settings. Throws {@link SettingsError}. */
export function workerSettings(env: Environment): WorkerSettings {
  const values = parseEnvironment(workerSchema, env);
  return {
    ...commonSettings(values),
    queues: values.WORKER_QUEUES,
    concurrency: values.WORKER_CONCURRENCY,
    workerShards: servedShards(values.WORKER_SHARDS, values.WAGGLE_SHARDS),
    port: values.WORKER_PORT,
    drainMs: values.WORKER_DRAIN_MS,
    lockMs: values.WORKER_LOCK_MS,
    stalledMs: values.WORKER_STALLED_MS,
    resultBytes: values.WAGGLE_MAX_RESULT_BYTES,
  };
}

function commonSettings(values: z.output<z.ZodObject<typeof sharedVariables>>): CommonSettings {
  return {
    redisUrl: values.REDIS_URL,
    shards: values.WAGGLE_SHARDS,
    allowPrivateTargets: values.WAGGLE_ALLOW_PRIVATE_TARGETS,
    logLevel: values.LOG_LEVEL,
    tracing: isTraced(values),
  };
}

function isTraced(values: z.output<z.ZodObject<typeof sharedVariables>>): boolean {
  const endpoint = values.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? values.OTEL_EXPORTER_OTLP_ENDPOINT;
  return (values.WAGGLE_TRACING || endpoint !== undefined) && !values.OTEL_SDK_DISABLED;
}

function parseEnvironment<T extends z.ZodType>(schema: T, env: Environment): z.output<T> {
  // An empty variable is how compose files and shells say "not set".
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => ({
    name: String(issue.path[0]),
    message: issue.message,
  }));
  throw new SettingsError(
    faults.map((fault) => `${fault.name} ${fault.message}`).join('; '),
    unique(faults.map((fault) => fault.name)),
  );
}

function servedShards(value: string, shards: number): number[] {
  if (value === 'all') return Array.from({ length: shards }, (_, shard) => shard);
  const served = unique(value.split(',').map(Number));
  if (served.some((shard) => shard >= shards)) {
    throw new SettingsError(
      `WORKER_SHARDS must name shards from 0 to ${shards - 1} (WAGGLE_SHARDS is ${shards})`,
      ['WORKER_SHARDS'],
    );
  }
  return served;
}

function isRedisUrl(value: string): boolean {
  if (/^rediss?\+cluster:\/\/[^/]+$/.test(value)) return true;
  return /^rediss?:\/\//.test(value) && URL.canParse(value);
}

function unique<T>(values: T[]): T[] {
  return [...new Set(values)];
}
