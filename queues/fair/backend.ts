import { randomUUID } from 'node:crypto';
import { QueueKeys, raw2NextJobData, RedisQueueBackend } from 'bullmq';
import type { IRedisClient, Job, KeepJobs, QueueBaseOptions, RedisConnection, WorkerOptions } from 'bullmq';
import { fairVersion } from './connection.ts';
import { decodePause, encodeLimits } from './group-limits.ts';
import type { GroupLimits } from './group-limits.ts';
import type { UnprioritizedPlace } from './scripts.ts';

/** Queue options as the Redis backend has them. */
export type RedisQueueOptions = QueueBaseOptions & { prefix?: string };

/**
 * What a new job does when its key is taken: wait in order of arrival; be refused; take the place of those that wait; or
 * that and have those stopped that run.
 */
export const KEY_STRATEGIES = ['queue', 'reject', 'replace-waiting', 'cancel-running'] as const;
export type KeyStrategy = (typeof KEY_STRATEGIES)[number];

/** Why a job of a group has not started; times in ms of Redis' clock. */
export interface Explanation {
  now: number;
  /** Jobs of the group that run before it; absent when it does not wait. */
  place?: number;
  /** Jobs of its key that were blocked before it; absent when its key does not block it. */
  blocked?: number;
  /** The jobs that hold its key, when that blocks it. */
  holders?: string[];
  /** Groups that are served before its own; absent while its group may not start anything. */
  groupsAhead?: number;
  /** -1 without end; may lie in the past. */
  pausedUntil?: number;
  /** Of the group over all queues, and of the group in this queue: running jobs, their limit, the next token. */
  gates: { run: number; max?: number; due?: number }[];
  queuePaused: boolean;
  /** The queue's global concurrency in BullMQ, and how many jobs are active in it. */
  concurrency?: number;
  active: number;
}

/** What {@link FairQueueBackend.repairSlots} found: slots given back and taken, keys given back. */
export interface Repairs {
  released: number;
  adopted: number;
  keys: number;
}

/** Jobs with keys per script when they are checked. */
const LOOKED_AT_ONCE = 200;

/** Groups per script when the limits of `*` changed: about a millisecond each time. */
const SETTLED_AT_ONCE = 50;

/** What `complete.lua` answers for a job that is not plain. */
const NOT_PLAIN = -200;
const LEAN_PAUSE_MS = 100;

/** What `reject.lua` answers for a job whose key is taken. */
const KEY_BUSY = -120;

/** A job with the strategy `reject` was not added, because its key is taken. */
export class KeyBusyError extends Error {
  constructor() {
    super('Another job of this key runs or waits');
    this.name = 'KeyBusyError';
  }
}

/** What `fail-waiting.lua` and `fail-cancelled.lua` answer for a job that is not in the state they ask for. */
const NOT_TO_FAIL = -100;

/**
 * BullMQ's Redis backend with a fair wait list. Each operation runs BullMQ's own script behind a prelude that keeps
 * waiting jobs per group (see `lua/ring/base.lua`); everything else is inherited.
 */
export class FairQueueBackend extends RedisQueueBackend {
  /** Slots that had to be mended so far; see {@link repairSlots}. */
  repairs = 0;
  readonly #unprioritized: UnprioritizedPlace;
  #leanAgainAt = 0;

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

  /** A job that was refused, see {@link KeyBusyError}, has an empty id; the others are added all the same. */
  override async addJobs(...args: Parameters<RedisQueueBackend['addJobs']>): Promise<string[]> {
    for (const entry of args[0]) assertGroup(entry.job.opts);
    const ids: (string | number)[] = await super.addJobs(...args);
    return ids.map((id) => (id === KEY_BUSY ? '' : String(id)));
  }

  override addFlow(
    ...args: Parameters<RedisQueueBackend['addFlow']>
  ): ReturnType<RedisQueueBackend['addFlow']> {
    for (const entry of args[0]) {
      assertGroup(entry.jobData.opts);
      assertNotRejecting(entry.jobData.opts);
    }
    return super.addFlow(...args);
  }

  override addJobScheduler(
    ...args: Parameters<RedisQueueBackend['addJobScheduler']>
  ): ReturnType<RedisQueueBackend['addJobScheduler']> {
    assertGroup(args[3]);
    return super.addJobScheduler(...args);
  }

  /** BullMQ's own, and {@link repairSlots}: so whatever occupies a slot wrongly gives it back within one stalled interval. */
  override async moveStalledJobsToWait(
    ...args: Parameters<RedisQueueBackend['moveStalledJobsToWait']>
  ): ReturnType<RedisQueueBackend['moveStalledJobsToWait']> {
    const stalled = await super.moveStalledJobsToWait(...args);
    const { stalledInterval = 30_000 } = this.queue.opts as WorkerOptions;
    const { released, adopted, keys } = await this.#repair(Math.ceil(stalledInterval / 2));
    this.repairs += released + adopted + keys;
    return stalled;
  }

  /**
   * The hot path: a plain job, most of the time, is completed by one lean script; see complete.lua. One that turns out not
   * to be plain goes BullMQ's way, and others with it for a moment: what made it so (delayed jobs that are due, a limit on
   * the queue) lasts.
   */
  override async moveToCompleted(
    ...args: Parameters<RedisQueueBackend['moveToCompleted']>
  ): ReturnType<RedisQueueBackend['moveToCompleted']> {
    const [job, returnValue, removeOnComplete, token, fetchNext] = args;
    const keep = this.#keepsPlainly(removeOnComplete);
    const finishedOn = Date.now();
    if (keep === null || token === '0' || !isPlain(job) || finishedOn < this.#leanAgainAt)
      return super.moveToCompleted(...args);
    const { opts, closing } = this.queue;
    const { lockDuration, name = '' } = opts as { lockDuration?: number; name?: string };
    const client = await this.queue.client;
    const result: unknown = await this.execCommand(client, 'complete', [
      this.toKey(''),
      job.id,
      finishedOn,
      // As BullMQ stores what has no JSON.
      JSON.stringify(returnValue) ?? 'null',
      token,
      keep,
      fetchNext && !closing ? 1 : 0,
      lockDuration ?? 0,
      name,
    ]);
    if (result === NOT_PLAIN) {
      this.#leanAgainAt = finishedOn + LEAN_PAUSE_MS;
      return super.moveToCompleted(...args);
    }
    if (typeof result === 'number' && result < 0)
      throw this.finishedErrors({
        code: result,
        jobId: job.id ?? '',
        command: 'moveToFinished',
        state: 'active',
      });
    return { result: raw2NextJobData(result as unknown[]), finishedOn };
  }

  /** 0 to remove a completed job, -1 to keep it; null for all other rules, and where BullMQ has more to do at a finish. */
  #keepsPlainly(removeOnComplete: boolean | number | KeepJobs): number | null {
    const opts = this.queue.opts as WorkerOptions;
    if (opts.metrics?.maxDataPoints || opts.limiter) return null;
    const { count, age, ...others } = this.getKeepJobs(removeOnComplete, opts.removeOnComplete) as {
      count?: number;
      age?: number;
    };
    if (age || Object.keys(others).length > 0) return null;
    return count === 0 || count === -1 ? count : null;
  }

  override finishedErrors(
    ...args: Parameters<RedisQueueBackend['finishedErrors']>
  ): ReturnType<RedisQueueBackend['finishedErrors']> {
    return args[0].code === KEY_BUSY ? new KeyBusyError() : super.finishedErrors(...args);
  }

  override async isJobInState(state: string, jobId: string): Promise<boolean> {
    // The inherited method reads the list from TypeScript; waiting jobs are in no such list.
    if (state === 'wait' || state === 'waiting') return (await this.getState(jobId)) === 'waiting';
    if (state === 'prioritized') return (await this.getState(jobId)) === 'prioritized';
    return super.isJobInState(state, jobId);
  }

  /**
   * Sets everything that decides about a group, in every queue under this backend's prefix, from the next pick on; what
   * is not given is not limited. Null gives the group what group `*` has: the limits of all groups without their own.
   * @throws RangeError for a weight, a limit or a rate out of its range
   */
  async setGroupLimits(groupId: string, limits: GroupLimits | null): Promise<void> {
    await this.#changeLimits(groupId, 'limits', limits === null ? '' : encodeLimits(limits));
  }

  /** Starts no job of a group for `forMs`, or until it is resumed. What runs goes on; its other limits stay. */
  async pauseGroup(groupId: string, forMs: number | null = null): Promise<void> {
    if (forMs !== null && !(Number.isSafeInteger(forMs) && forMs >= 0))
      throw new RangeError(`forMs must be a whole number of ms, not ${forMs}`);
    await this.#changeLimits(groupId, 'pause', forMs ?? -1);
  }

  /** The same for whoever meets a reason to pause, and must not end another's pause: the longer one holds. */
  async extendGroupPause(groupId: string, forMs: number): Promise<void> {
    await this.#changeLimits(groupId, 'extend', Math.max(0, Math.ceil(forMs)));
  }

  async resumeGroup(groupId: string): Promise<void> {
    await this.#changeLimits(groupId, 'pause', '');
  }

  /** Until when a group is paused, in ms of Redis' clock: Infinity without end, null when it is not. */
  async getGroupPause(groupId: string): Promise<number | null> {
    const client = await this.queue.client;
    const [own, others] = await client.hmget(`${this.redisPrefix}::fair:limits`, groupId, '*');
    return decodePause(own ?? null, others ?? null);
  }

  /** What decides about a waiting job of a group, as of now. */
  async explainWaiting(groupId: string, jobId: string): Promise<Explanation> {
    const client = await this.queue.client;
    const args = [this.toKey('fair:idx'), this.toKey(''), groupId, jobId];
    return JSON.parse((await this.execCommand(client, 'explain', args)) as string) as Explanation;
  }

  /** How many jobs of a group wait in all queues of the prefix; delayed ones are not counted. */
  async countWaitingInPrefix(groupId: string): Promise<number> {
    const client = await this.queue.client;
    const prefix = `${this.redisPrefix}:`;
    return Number(await this.execCommand(client, 'countWaiting', [`${prefix}:fair:queues`, prefix, groupId]));
  }

  /**
   * Compares the slots of groups with limits with the jobs that are active in this queue, and mends what differs;
   * the same for the keys of jobs.
   * @returns how many slots were given back and taken, and how many keys given back; all 0 unless something went wrong
   */
  repairSlots(): Promise<Repairs> {
    return this.#repair(0);
  }

  /** `onceInMs`: does nothing when somebody did it less than so long ago. */
  async #repair(onceInMs: number): Promise<Repairs> {
    const client = await this.queue.client;
    const place = [this.toKey('fair:idx'), this.toKey('')];
    const [released = 0, adopted = 0, looked] = (await this.execCommand(client, 'repairSlots', [
      ...place,
      onceInMs,
    ])) as number[];
    const found = { released, adopted, keys: 0 };
    for (let cursor = looked === 1 ? '0' : null; cursor !== null;) {
      const reply: unknown = await this.execCommand(client, 'repairKeys', [...place, cursor, LOOKED_AT_ONCE]);
      const [next, keys] = reply as [string, number];
      found.keys += keys;
      cursor = next === '0' ? null : next;
    }
    return found;
  }

  /**
   * How many jobs of a group wait in this queue, prioritized ones and those that others of their key block included;
   * delayed ones are not counted.
   */
  async countWaitingInGroup(groupId: string): Promise<number> {
    const client = await this.queue.client;
    const [queued, blocked] = await Promise.all([
      client.zcard(this.toKey(`fair:q::${groupId}`)),
      client.hget(this.toKey('fair:kb'), groupId),
    ]);
    return queued + Number(blocked ?? 0);
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

  async #changeLimits(
    groupId: string,
    kind: 'limits' | 'pause' | 'extend',
    value: string | number,
  ): Promise<void> {
    const client = await this.queue.client;
    const prefix = `${this.redisPrefix}:`;
    const names = (await this.execCommand(client, 'setLimits', [
      `${prefix}:fair:limits`,
      `${prefix}:fair:queues`,
      prefix,
      groupId,
      kind,
      value,
    ])) as string[];
    if (groupId !== '*') return;
    // Any number of groups may go by these limits, too many for one script.
    for (const name of names) await this.#settleAll(client, `${prefix}${name}:`);
  }

  async #settleAll(client: IRedisClient, base: string): Promise<void> {
    let cursor = '0';
    do {
      const args = [`${base}fair:idx`, base, cursor, SETTLED_AT_ONCE];
      cursor = String(await this.execCommand(client, 'settleGroups', args));
    } while (cursor !== '0');
  }

  /**
   * Records a job that has not started (waiting, delayed or waiting for children) as failed, at once, by the rules of
   * any failure: its parent, events and deduplication follow. It spends no attempt.
   * @returns false when the job is active, finished or gone; nothing has changed then
   */
  failWaiting(job: Job, reason: string): Promise<boolean> {
    return this.#failAs('failWaiting', job, reason);
  }

  /**
   * Records a job as failed that a newer one of its key supersedes and that has had its grace; its worker, if it has one,
   * can record nothing any more.
   * @returns false when the job is not to be cancelled, or not yet; nothing has changed then
   */
  failCancelled(job: Job, reason: string): Promise<boolean> {
    return this.#failAs('failCancelled', job, reason);
  }

  /**
   * Jobs that newer ones of their key have put an end to: `unstarted` ones are to be given to {@link failWaiting},
   * `overdue` ones to {@link failCancelled}. Whoever adds jobs with such strategies, or runs workers, looks now and then.
   */
  async getDueCancels(most = 100): Promise<{ unstarted: string[]; overdue: string[] }> {
    const client = await this.queue.client;
    const base = this.toKey('');
    const keys = [this.toKey('fair:superseded'), this.toKey('fair:cancels')];
    const found = (await this.execCommand(client, 'dueCancels', [...keys, base, most])) as string[][];
    return { unstarted: found[0] ?? [], overdue: found[1] ?? [] };
  }

  /** The channel on which this prefix says `<queue>:<job id>` of an active job that is to stop. */
  get cancelChannel(): string {
    return `${this.redisPrefix}:cancel`;
  }

  async #failAs(command: string, job: Job, reason: string): Promise<boolean> {
    const args = this.moveToFinishedArgs(
      job,
      reason,
      'failedReason',
      job.opts.removeOnFail,
      'failed',
      randomUUID(),
      Date.now(),
      false,
    );
    const client = await this.queue.client;
    const code = Number(await this.execCommand(client, command, args));
    if (code === NOT_TO_FAIL) return false;
    if (code < 0) throw this.finishedErrors({ code, jobId: job.id ?? '', command, state: 'waiting' });
    return true;
  }
}

/** Whether nothing that is known of the job here keeps it from a lean finish. */
function isPlain(job: object): boolean {
  const { parentKey, deduplicationId } = job as { parentKey?: string; deduplicationId?: string };
  return !parentKey && !deduplicationId;
}

/** @throws TypeError when the option `group` is there and not what {@link GroupOptions} says */
function assertGroup(options: object | undefined): void {
  const group = (options as { group?: Record<string, unknown> | null } | undefined)?.group;
  if (group === undefined) return;
  const { id, key, keyLimit = 1, keyStrategy = 'queue' } = group ?? {};
  if (typeof id !== 'string') throw new TypeError('The job option group must be { id: string }');
  if (key === undefined && (group?.['keyLimit'] ?? group?.['keyStrategy']) !== undefined)
    throw new TypeError('group.keyLimit and group.keyStrategy need a group.key');
  if (key !== undefined && typeof key !== 'string') throw new TypeError('group.key must be a string');
  if (!Number.isSafeInteger(keyLimit) || Number(keyLimit) < 1)
    throw new TypeError('group.keyLimit must be a whole number from 1');
  if (!KEY_STRATEGIES.includes(keyStrategy as KeyStrategy))
    throw new TypeError(`group.keyStrategy must be one of ${KEY_STRATEGIES.join(', ')}`);
}

/** @throws TypeError for a job of a flow that could be refused only after others of it are in */
function assertNotRejecting(options: object | undefined): void {
  const { group } = (options ?? {}) as { group?: { keyStrategy?: string } };
  if (group?.keyStrategy === 'reject') throw new TypeError('group.keyStrategy cannot be reject in a flow');
}
