import { defaultLimits } from '../src/shared/limits.ts';
import type { Limits } from '../src/shared/limits.ts';
import type { Logger } from '../src/shared/logger.ts';
import { AuditStream } from './audit/log.ts';
import type { AuditLog } from './audit/log.ts';
import { FlowCancellation } from './flows/cancellation.ts';
import { FlowService } from './flows/service.ts';
import type { Flows } from './flows/types.ts';
import { BulkControl } from './jobs/bulk.ts';
import { JobControl } from './jobs/control.ts';
import { JobEndings } from './jobs/endings.ts';
import type { Endings } from './jobs/endings.ts';
import { JobEvents } from './jobs/job-events.ts';
import { JobList } from './jobs/list.ts';
import { Sources } from './jobs/search/sources.ts';
import { JobReader } from './jobs/reader.ts';
import { JobRetention } from './jobs/retention.ts';
import type { Retention } from './jobs/retention.ts';
import { JobService } from './jobs/service.ts';
import { TenantIndex } from './jobs/tenant-index.ts';
import type { Jobs } from './jobs/types.ts';
import { Waiters } from './jobs/waiters.ts';
import { JobExplainer } from './jobs/why.ts';
import { OnceRecords } from './once/record.ts';
import type { Repeats } from './once/types.ts';
import { OverallLimitsService } from './overall/service.ts';
import { taskRegistry } from './tasks/registry.ts';
import type { TaskRegistry } from './tasks/registry.ts';
import { ApiKeyStore } from './tenants/api-key-store.ts';
import { TenantPurge } from './tenants/purge.ts';
import type { Purges } from './tenants/purge.ts';
import { TenantStore } from './tenants/tenant-store.ts';
import type { ApiKeys, Tenants } from './tenants/types.ts';
import { JobLogs } from './streams/log.ts';
import { JobStreams } from './streams/service.ts';
import { Watches } from './streams/watches.ts';
import { UsageBook } from './usage/book.ts';
import { QueueDepths } from './usage/depths.ts';
import { UsageService } from './usage/service.ts';
import type { UsageReader } from './usage/service.ts';
import { connect, connectProducer, connectReader, isOpen } from './topology/connections.ts';
import type { RedisConnection } from './topology/connections.ts';
import { guardRedis } from './topology/guard.ts';
import { Keys } from './topology/keys.ts';
import { withRedis } from './topology/redis-errors.ts';
import { WorkerPresence } from './topology/presence.ts';
import { Topology } from './topology/topology.ts';

export interface EngineOptions {
  redisUrl: string;
  shards: number;
  logger: Logger;
  /** The first part of every key; `wg` unless several Waggles share one Redis (tests do). */
  keyPrefix?: string;
  /** The built-in ones unless given. */
  tasks?: TaskRegistry;
  limits?: Partial<Limits>;
}

export interface Engine {
  readonly jobs: Jobs;
  readonly control: JobControl;
  readonly bulk: BulkControl;
  readonly flows: Flows;
  readonly repeats: Repeats;
  readonly tenants: Tenants;
  readonly apiKeys: ApiKeys;
  readonly audit: AuditLog;
  readonly purges: Purges;
  readonly overall: OverallLimitsService;
  readonly retention: Retention;
  readonly endings: Endings;
  readonly presence: WorkerPresence;
  readonly streams: JobStreams;
  readonly usage: UsageReader;
  readonly usageBook: UsageBook;
  readonly depths: QueueDepths;
  readonly topology: Topology;
  /** The connections that are in use, by what for, and whether each is open. */
  connections(): Record<string, boolean>;
  /** Resolves when Redis answers. @throws WaggleError redis_unavailable */
  ping(): Promise<void>;
  /** Ends every waiter, then the queues, then the connections. May be called more than once. */
  close(): Promise<void>;
}

/**
 * Connects to Redis, makes sure that it is fit, and gives everything Waggle can do with it.
 * @throws WaggleError redis_unavailable
 * @throws RedisGuardError when the server may evict jobs or holds another number of shards
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const keys = new Keys(options.keyPrefix);
  const redis = connectProducer(options.redisUrl, options.logger);
  try {
    await withRedis(async () => {
      await connect(redis);
      await guardRedis(redis, { shards: options.shards, keys });
    });
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  return assemble(options, redis, keys);
}

function assemble(options: EngineOptions, redis: RedisConnection, keys: Keys): Engine {
  const { logger, shards, redisUrl, tasks = taskRegistry } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const topology = new Topology({ redis, shards, keys, logger });
  const index = new TenantIndex(topology);
  const reader = new JobReader(topology);
  const retention = new JobRetention(topology, index, reader);
  const events = new JobEvents({ topology, logger, connect: () => connectReader(redisUrl, logger) });
  const waiters = new Waiters({ topology, logger, events });
  const watches = new Watches({ topology, events, waiters });
  const cancellation = new FlowCancellation(topology, reader, retention);
  const endings = new JobEndings(topology, retention, cancellation);
  const list = new JobList(reader, new Sources(topology, index));
  const presence = new WorkerPresence(topology);
  const overall = new OverallLimitsService(topology, presence);
  const explainer = new JobExplainer(topology, reader, presence, overall);
  const tenants = new TenantStore(topology);
  const apiKeys = new ApiKeyStore(topology);
  const usageBook = new UsageBook(topology);
  const control = new JobControl({ topology, tasks, limits, index, reader, endings, tenants });
  const jobs = new JobService({
    topology,
    tasks,
    limits,
    index,
    reader,
    list,
    waiters,
    tenants,
    endings,
    explainer,
  });
  let closing: Promise<void> | undefined;
  return {
    jobs,
    control,
    bulk: new BulkControl(jobs, control),
    flows: new FlowService({ topology, tasks, limits, index, reader, cancellation, tenants }),
    repeats: new OnceRecords(topology),
    tenants,
    apiKeys,
    purges: new TenantPurge({ topology, index, tenants, apiKeys }),
    audit: new AuditStream(topology),
    overall,
    retention,
    endings,
    presence,
    streams: new JobStreams({ topology, reader, watches, logs: new JobLogs(topology) }),
    usage: new UsageService(topology, tenants, usageBook),
    usageBook,
    depths: new QueueDepths(topology, presence),
    topology,
    connections: () => ({ commands: isOpen(redis), ...events.connections() }),
    ping: () => withRedis(async () => void (await redis.ping())),
    close: () => (closing ??= closeAll(waiters, events, topology, redis)),
  };
}

async function closeAll(
  waiters: Waiters,
  events: JobEvents,
  topology: Topology,
  redis: RedisConnection,
): Promise<void> {
  waiters.close();
  await events.close();
  await topology.close();
  // QUIT lets the replies of commands under way arrive; a server that is away gets no farewell.
  await redis.quit().catch(() => redis.disconnect());
}
