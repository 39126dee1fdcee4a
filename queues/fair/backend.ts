import { randomUUID } from 'node:crypto';
import { QueueKeys, RedisQueueBackend } from 'bullmq';
import type { Job, QueueBaseOptions, RedisConnection } from 'bullmq';
import { fairVersion } from './connection.ts';
import type { UnprioritizedPlace } from './scripts.ts';

/** Queue options as the Redis backend has them. */
export type RedisQueueOptions = QueueBaseOptions & { prefix?: string };

/** What `fail-waiting.lua` answers for a job that is not waiting. */
const NOT_WAITING = -100;

/**
 * BullMQ's Redis backend with a fair wait list. Each operation runs BullMQ's own script behind a prelude that keeps
 * waiting jobs per group (see `lua/ring/base.lua`); everything else is inherited.
 */
export class FairQueueBackend extends RedisQueueBackend {
  readonly #unprioritized: UnprioritizedPlace;

  constructor(
    connection: RedisConnection,
    name: string,
    opts: QueueBaseOptions,
    blockingConnection: RedisConnection | undefined,
    unprioritized: UnprioritizedPlace,
    ownsConnection = true,
  ) {
    const queueKeys = new QueueKeys((opts as RedisQueueOptions).prefix);
    super(
      connection,
      name,
      queueKeys.getKeys(name),
      (type) => queueKeys.toKey(name, type),
      opts,
      blockingConnection,
      ownsConnection,
    );
    this.#unprioritized = unprioritized;
    this.version = fairVersion(this.version, unprioritized);
  }

  /** A sibling for another queue over the same connections, as BullMQ's flows need it; it is fair as well. */
  override forQueue(queueName: string, prefix?: string): FairQueueBackend {
    const opts = { ...this.queue.opts, prefix: prefix ?? this.redisPrefix };
    return new FairQueueBackend(
      this.connection,
      queueName,
      opts,
      this.blockingConnection,
      this.#unprioritized,
      false,
    );
  }

  // Every way in for a job. A wrong group is refused before any script runs: later it would only be a job that is lost.

  override addJob(...args: Parameters<RedisQueueBackend['addJob']>): Promise<string> {
    assertGroup(args[0].opts);
    return super.addJob(...args);
  }

  override addJobs(...args: Parameters<RedisQueueBackend['addJobs']>): Promise<string[]> {
    for (const entry of args[0]) assertGroup(entry.job.opts);
    return super.addJobs(...args);
  }

  override addFlow(
    ...args: Parameters<RedisQueueBackend['addFlow']>
  ): ReturnType<RedisQueueBackend['addFlow']> {
    for (const entry of args[0]) assertGroup(entry.jobData.opts);
    return super.addFlow(...args);
  }

  override addJobScheduler(
    ...args: Parameters<RedisQueueBackend['addJobScheduler']>
  ): ReturnType<RedisQueueBackend['addJobScheduler']> {
    assertGroup(args[3]);
    return super.addJobScheduler(...args);
  }

  override async isJobInState(state: string, jobId: string): Promise<boolean> {
    // The inherited method reads the list from TypeScript; waiting jobs are in no such list.
    if (state === 'wait' || state === 'waiting') return (await this.getState(jobId)) === 'waiting';
    if (state === 'prioritized') return (await this.getState(jobId)) === 'prioritized';
    return super.isJobInState(state, jobId);
  }

  /**
   * Sets a group's weight in every queue under this backend's prefix, from the next pick on. Under contention a group
   * gets runs in proportion to its weight. The weight of group `*` is that of all groups without one of their own (1 at
   * first); each of them takes a change of it up when it next has a first waiting job.
   * @param weight from 0.001 to 1000
   * @throws RangeError for another weight
   */
  async setGroupWeight(groupId: string, weight: number): Promise<void> {
    if (!(weight >= 0.001 && weight <= 1000))
      throw new RangeError(`weight must be from 0.001 to 1000, not ${weight}`);
    const client = await this.queue.client;
    const prefix = `${this.redisPrefix}:`;
    await this.execCommand(client, 'setWeight', [
      `${prefix}:fair:weights`,
      `${prefix}:fair:queues`,
      prefix,
      groupId,
      weight,
    ]);
  }

  /** How many jobs of a group wait in this queue, prioritized ones included; delayed ones are not counted. */
  async countWaitingInGroup(groupId: string): Promise<number> {
    const client = await this.queue.client;
    return client.zcard(this.toKey(`fair:q::${groupId}`));
  }

  /** The ids of a group's waiting jobs in the order in which they will run; `start` and `end` inclusive, from 0. */
  async getWaitingInGroup(groupId: string, start = 0, end = -1): Promise<string[]> {
    const client = await this.queue.client;
    return client.zrange(this.toKey(`fair:q::${groupId}`), start, end);
  }

  /** The summed weight of the groups of this queue that have runnable jobs; 0 when nothing can run. */
  async getRunnableWeight(): Promise<number> {
    const client = await this.queue.client;
    return Number(await this.execCommand(client, 'runnableWeight', [this.toKey('fair:ring')]));
  }

  /**
   * Records a job that has not started (waiting, delayed or waiting for children) as failed, at once, by the rules of
   * any failure: its parent, events and deduplication follow. It spends no attempt.
   * @returns false when the job is active, finished or gone; nothing has changed then
   */
  async failWaiting(job: Job, reason: string): Promise<boolean> {
    const token = randomUUID();
    const args = this.moveToFinishedArgs(
      job,
      reason,
      'failedReason',
      job.opts.removeOnFail,
      'failed',
      token,
      Date.now(),
      false,
    );
    const client = await this.queue.client;
    const code = Number(await this.execCommand(client, 'failWaiting', args));
    if (code === NOT_WAITING) return false;
    if (code < 0)
      throw this.finishedErrors({ code, jobId: job.id ?? '', command: 'failWaiting', state: 'waiting' });
    return true;
  }
}

/** @throws TypeError when the option `group` is there and not `{ id: string }` */
function assertGroup(options: object | undefined): void {
  const group = (options as { group?: { id?: unknown } | null } | undefined)?.group;
  if (group !== undefined && typeof group?.id !== 'string')
    throw new TypeError('The job option group must be { id: string }');
}
