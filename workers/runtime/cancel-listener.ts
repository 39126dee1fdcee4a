import type { RedisConnection } from '../../queues/topology/connections.ts';
import type { Logger } from '../../src/shared/logger.ts';

export interface CancelListenerOptions {
  /** A connection of its own: it subscribes. */
  connection: RedisConnection;
  /** Channel -> shard. */
  channels: ReadonlyMap<string, number>;
  onCancel: (shard: number, queue: string, jobId: string) => void;
  logger: Logger;
}

/**
 * Hears which active jobs are to stop. What is said while the connection is away is lost: such a job is ended by the
 * sweep when its grace is over, and its handler hears of it when its lock cannot be renewed.
 */
export class CancelListener {
  readonly #options: CancelListenerOptions;

  constructor(options: CancelListenerOptions) {
    this.#options = options;
  }

  start(): void {
    const { connection, channels, onCancel, logger } = this.#options;
    connection.on('message', (channel: string, message: string) => {
      const shard = channels.get(channel);
      // Names of queues have no colon; ids of jobs may.
      const colon = message.indexOf(':');
      if (shard !== undefined && colon > 0)
        onCancel(shard, message.slice(0, colon), message.slice(colon + 1));
    });
    // ioredis subscribes again after every reconnection.
    connection.subscribe(...channels.keys()).catch((error: unknown) => {
      logger.warn({ err: error }, 'not listening for cancels');
    });
  }

  stop(): void {
    this.#options.connection.disconnect();
  }
}
