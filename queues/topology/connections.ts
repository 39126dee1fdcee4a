import { Cluster, Redis } from 'ioredis';
import type { ClusterNode, RedisOptions } from 'ioredis';
import type { Logger } from '../../src/shared/logger.ts';
import { holdWrites } from '../fair/index.ts';

/** One server, or a cluster when the URL is `redis+cluster://host:port,host:port` (`rediss+cluster` with TLS). */
export type RedisConnection = Redis | Cluster;

type ConnectionSettings = Omit<RedisOptions, 'replyMapping'>;

const CLUSTER_URL = /^(rediss?)\+cluster:\/\/(?:(.*)@)?([^@/]+)$/;

/** Its commands of one turn of the event loop leave together; the fair backend does that for its scripts alone, and counts them. */
class ThriftyRedis extends Redis {
  override sendCommand(...args: Parameters<Redis['sendCommand']>): ReturnType<Redis['sendCommand']> {
    holdWrites(this.stream, 0);
    return super.sendCommand(...args);
  }
}

/** Reconnects for ever, soon at first and at most every 2 s: an outage ends when Redis is back, not when a limit is hit. */
const retryStrategy = (times: number): number => Math.min(times * 50, 2000);

/**
 * A connection for whoever answers a caller: it never queues while Redis is away, so a request fails at once instead of
 * hanging, and a command that got no answer is given up after `commandTimeoutMs`. Not connected yet; call `connect()`.
 */
export function connectProducer(redisUrl: string, logger?: Logger, commandTimeoutMs = 5000): RedisConnection {
  return open(redisUrl, logger, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    disconnectTimeout: 500,
    connectTimeout: 3000,
    commandTimeout: commandTimeoutMs,
    lazyConnect: true,
    retryStrategy,
  });
}

/** A connection for workers, who have nobody waiting: every command is kept until Redis is back. Connects on first use. */
export function connectWorker(redisUrl: string, logger?: Logger): RedisConnection {
  return open(redisUrl, logger, {
    maxRetriesPerRequest: null,
    connectTimeout: 10_000,
    lazyConnect: true,
    retryStrategy,
  });
}

/** The connection that follows event streams: it blocks up to a second per read, and gives up a read that never returns. */
export function connectReader(redisUrl: string, logger?: Logger): RedisConnection {
  return open(redisUrl, logger, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    disconnectTimeout: 500,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 3000,
    commandTimeout: 10_000,
    lazyConnect: true,
    retryStrategy,
  });
}

/** Connects. The error of a connection that never was names as its cause what ioredis only reports: why. */
export async function connect(redis: RedisConnection): Promise<void> {
  let reason: Error | undefined;
  listenForErrors(redis, (error) => (reason = error));
  try {
    await redis.connect();
  } catch (error) {
    if (error instanceof Error) error.cause ??= reason;
    throw error;
  }
}

export function isCluster(redis: RedisConnection): redis is Cluster {
  return redis instanceof Cluster;
}

/** Whether commands would go through now, as far as is known. */
export function isOpen(redis: RedisConnection): boolean {
  return redis.status === 'ready';
}

function open(redisUrl: string, logger: Logger | undefined, options: ConnectionSettings): RedisConnection {
  const cluster = CLUSTER_URL.exec(redisUrl);
  const redis = cluster ? openCluster(cluster, options) : new ThriftyRedis(redisUrl, options);
  // Without its stack, which is never of this code.
  const report = ({ message, code }: NodeJS.ErrnoException): void =>
    logger?.warn({ reason: message, code }, 'redis connection');
  // Without a listener ioredis prints every failed attempt to the console.
  listenForErrors(redis, report);
  return redis;
}

function listenForErrors(redis: RedisConnection, listener: (error: Error) => void): void {
  if (redis instanceof Cluster) redis.on('error', listener);
  else redis.on('error', listener);
}

function openCluster(match: RegExpExecArray, options: ConnectionSettings): Cluster {
  const [, scheme, credentials, hosts = ''] = match;
  const [username = '', password = ''] = (credentials ?? '')
    .split(':')
    .map((part) => decodeURIComponent(part));
  const { connectTimeout = 3000, commandTimeout, maxRetriesPerRequest = null } = options;
  const redisOptions = {
    connectTimeout,
    maxRetriesPerRequest,
    ...(commandTimeout === undefined ? {} : { commandTimeout }),
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
    ...(scheme === 'rediss' ? { tls: {} } : {}),
  };
  return new Cluster(hosts.split(',').map(clusterNode), {
    lazyConnect: true,
    enableOfflineQueue: options.enableOfflineQueue ?? true,
    clusterRetryStrategy: retryStrategy,
    redisOptions,
  });
}

function clusterNode(address: string): ClusterNode {
  const { hostname, port } = new URL(`redis://${address}`);
  return { host: hostname, port: port === '' ? 6379 : Number(port) };
}
