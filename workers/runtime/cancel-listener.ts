import { z } from 'zod';
import { decodeFailure } from '../../queues/jobs/failure.ts';
import { SUPERSEDED } from '../../queues/jobs/endings.ts';
import type { RedisConnection } from '../../queues/topology/connections.ts';
import type { Logger } from '../../src/shared/logger.ts';

/** An active job is to stop. */
export interface Cancel {
  shard: number;
  queue: string;
  jobId: string;
  /** For people; becomes the message of the job's error. */
  reason: string;
  /** How long it may take; then it is recorded without its worker. */
  graceMs: number;
}

export interface CancelListenerOptions {
  /** A connection of its own: it subscribes. */
  connection: RedisConnection;
  /** Channel -> shard. */
  channels: ReadonlyMap<string, number>;
  onCancel: (cancel: Cancel) => void;
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
      const heard = Message.safeParse(parsed(message));
      if (shard === undefined || !heard.success) return;
      const [queue, jobId, failure, graceMs] = heard.data;
      const { message: reason } = failure === '' ? SUPERSEDED : decodeFailure(failure);
      onCancel({ shard, queue, jobId, reason, graceMs });
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

/** What the scripts of the fair backend say, see FairQueueBackend.cancelChannel. */
const Message = z.tuple([z.string(), z.string(), z.string(), z.number().min(0)]);

function parsed(message: string): unknown {
  try {
    return JSON.parse(message);
  } catch {
    return null;
  }
}
