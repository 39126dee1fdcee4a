import { randomUUID } from 'node:crypto';
import { QueueKeys } from 'bullmq';
import type {
  IRedisClient,
  QueueBaseOptions,
  RedisConnection,
  RedisQueueBackend,
  WorkerOptions,
} from 'bullmq';
import { fairVersion, guardKey } from './connection.ts';
import type { ScriptRules } from './connection.ts';
import { ControlBackend } from './control-backend.ts';
import { decodePause, decodeWeight, encodeLimits } from './group-limits.ts';
import type { GroupLimits } from './group-limits.ts';
import type { ClosedGate, GateChange, GateState } from './gates.ts';
import { assertFitForFlow, groupOf } from './group-options.ts';
import { Repair, settleAll } from './repairs.ts';
import type { Repairs } from './repairs.ts';
import { fairScripts } from './scripts.ts';

/** Queue options as the Redis backend has them. */
export type RedisQueueOptions = QueueBaseOptions & { prefix?: string };

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
  /** Of the whole queue and of the job's task, while they are closed: see {@link GateState}. */
  queueGate?: ClosedGate;
  taskGate?: ClosedGate & { task: string };
}

/** Jobs of a group in one queue; those `blocked` by their keys and `aside` for their tasks are part of `waiting`. */
export interface GroupCounts {
  waiting: number;
  blocked: number;
  aside: number;
  delayed: number;
  active: number;
}

/** Who waits in a queue. */
export interface Line {
  /** Groups whose next job may run. */
  runnable: number;
  /** Groups that are held back by limits. */
  held: number;
  /** How long the longest waiting among the groups' next jobs has been due, in ms; null when none waits. */
  oldestMs: number | null;
}

/** What BullMQ keeps in `meta` that keeps all jobs of a queue from starting. */
const LIMITS_IN_META = ['concurrency', 'max'];

/** Room for jobs that are about to be added; see {@link FairQueueBackend.reserveRoom}. */
export interface HeldRoom {
  jobs: number;
  free(): Promise<void>;
}

/** Longer than an add can take; so long a process that dies in between takes up room. */
const ROOM_LAPSES_MS = 30_000;

/** Jobs per script when many are looked at. */
const LOOKED_AT_ONCE = 200;

/**
 * BullMQ's Redis backend with a fair wait list. Each operation runs BullMQ's own script behind a prelude that keeps
 * waiting jobs per group (see `lua/ring/base.lua`); everything else is inherited.
 */
export class FairQueueBackend extends ControlBackend {
  /** Slots that had to be mended so far; see {@link repairSlots}. */
  repairs = 0;
  readonly #repair = new Repair((script, args) => this.#executeIn(this.toKey(''), script, args));
  readonly #rules: ScriptRules;
  /** Of each script; empty where none names a further one. */
  readonly #keyCounts: ReadonlyMap<string, number>;

  constructor(
    connection: RedisConnection,
    name: string,
    opts: QueueBaseOptions,
    blockingConnection: RedisConnection | undefined,
    rules: ScriptRules,
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
    this.#rules = rules;
    const scripts = rules.guarded ? fairScripts(rules) : [];
    this.#keyCounts = new Map(scripts.map((script) => [script.name, script.keys]));
    this.version = fairVersion(this.version, rules);
  }

  /** A sibling for another queue over the same connections, as BullMQ's flows need it; it is fair as well. */
  override forQueue(queueName: string, prefix?: string): FairQueueBackend {
    const opts = { ...this.queue.opts, prefix: prefix ?? this.redisPrefix };
    return new FairQueueBackend(
      this.connection,
      queueName,
      opts,
      this.blockingConnection,
      this.#rules,
      false,
    );
  }

  /** Every call of a script. */
  override execCommand(
    ...[client, command, args]: Parameters<RedisQueueBackend['execCommand']>
  ): ReturnType<RedisQueueBackend['execCommand']> {
    const keys = this.#keyCounts.get(command);
    if (keys === undefined) return super.execCommand(client, command, args);
    const given = args as unknown[];
    const guard = guardKey(String(given[0]));
    return super.execCommand(client, command, [...given.slice(0, keys), guard, ...given.slice(keys)]);
  }

  // The other ways in for a job, see LeanBackend: a wrong group is refused before any script runs.

  override addFlow(
    ...args: Parameters<RedisQueueBackend['addFlow']>
  ): ReturnType<RedisQueueBackend['addFlow']> {
    for (const entry of args[0]) assertFitForFlow(entry.jobData.opts);
    return super.addFlow(...args);
  }

  override addJobScheduler(
    ...args: Parameters<RedisQueueBackend['addJobScheduler']>
  ): ReturnType<RedisQueueBackend['addJobScheduler']> {
    groupOf(args[3]);
    return super.addJobScheduler(...args);
  }

  /** BullMQ's own, and {@link repairSlots}: so whatever occupies a slot wrongly gives it back within one stalled interval. */
  override async moveStalledJobsToWait(
    ...args: Parameters<RedisQueueBackend['moveStalledJobsToWait']>
  ): ReturnType<RedisQueueBackend['moveStalledJobsToWait']> {
    const stalled = await super.moveStalledJobsToWait(...args);
    // Some at a time; the mark by which it is done once per interval says when there are more.
    const client = await this.queue.client;
    while ((await client.get(this.toKey('stalled-check'))) === 'more')
      stalled.push(...(await super.moveStalledJobsToWait(...args)));
    const { stalledInterval = 30_000 } = this.queue.opts as WorkerOptions;
    const { released, adopted, keys, parked } = await this.#repair.due(Math.ceil(stalledInterval / 2));
    this.repairs += released + adopted + keys + parked;
    return stalled;
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

  /** The weights that hold for groups over all queues, in the order of the ids. */
  async getGroupWeights(groupIds: readonly string[]): Promise<number[]> {
    const client = await this.queue.client;
    const [others = null, ...own] = await client.hmget(`${this.redisPrefix}::fair:limits`, '*', ...groupIds);
    return groupIds.map((_, place) => decodeWeight(own[place] ?? null, others));
  }

  /** What decides about the jobs of a group that wait in this queue, as of now. */
  explainGroup(groupId: string): Promise<Explanation> {
    // No job has an empty id, so what the script says of a job is just not there.
    return this.explainWaiting(groupId, '');
  }

  /** What decides about a waiting job of a group, as of now. */
  async explainWaiting(groupId: string, jobId: string): Promise<Explanation> {
    const client = await this.queue.client;
    const args = [this.toKey('fair:idx'), this.toKey(''), groupId, jobId];
    return JSON.parse((await this.execCommand(client, 'explain', args)) as string) as Explanation;
  }

  /**
   * Holds room for `count` jobs of a group that are about to be added, as far as no more than `most` then wait or are
   * delayed in all queues of the prefix, what others hold included. `free` is to be called when they are in, or will not
   * come; after `forMs` the room lapses.
   */
  async reserveRoom(groupId: string, most: number, count: number, forMs = ROOM_LAPSES_MS): Promise<HeldRoom> {
    const client = await this.queue.client;
    const prefix = `${this.redisPrefix}:`;
    const [room, name] = [`${prefix}:fair:room:${groupId}`, randomUUID()];
    const args = [`${prefix}:fair:queues`, room, prefix, groupId, most, count, name, forMs];
    const jobs = Number(await this.execCommand(client, 'reserveRoom', args));
    const free = async (): Promise<void> => {
      if (jobs > 0) await client.hdel(room, name);
    };
    return { jobs, free };
  }

  /**
   * What whole queues and tasks may do under this prefix, over all groups, from the next pick on.
   * @param fence a number that grows with every caller who takes over; 0 where there is only one, or to read
   * @returns all gates as they are then; null, and nothing has changed, when a caller with a higher number was here
   */
  async changeGates(changes: readonly GateChange[] = [], fence = 0): Promise<GateState[] | null> {
    const client = await this.queue.client;
    const prefix = `${this.redisPrefix}:`;
    const keys = [`${prefix}:fair:gates`, `${prefix}:fair:queues`];
    const args = [...keys, prefix, fence, JSON.stringify(changes)];
    const reply: unknown = await this.execCommand(client, 'changeGates', args);
    return typeof reply === 'string' ? (JSON.parse(reply) as GateState[]) : null;
  }

  override async setQueueMeta(
    ...args: Parameters<RedisQueueBackend['setQueueMeta']>
  ): ReturnType<RedisQueueBackend['setQueueMeta']> {
    const reply = await super.setQueueMeta(...args);
    if (LIMITS_IN_META.some((field) => field in args[0])) await this.#wake();
    return reply;
  }

  override async removeQueueMetaFields(
    ...args: Parameters<RedisQueueBackend['removeQueueMetaFields']>
  ): ReturnType<RedisQueueBackend['removeQueueMetaFields']> {
    const reply = await super.removeQueueMetaFields(...args);
    if (LIMITS_IN_META.some((field) => args[0].includes(field))) await this.#wake();
    return reply;
  }

  /** What kept jobs from starting may be over: BullMQ tells nobody when it is raised or removed. */
  async #wake(): Promise<void> {
    const client = await this.queue.client;
    await this.execCommand(client, 'wake', [this.toKey('fair:idx'), this.toKey('marker')]);
  }

  /**
   * Compares the slots of groups with limits with the jobs that are active in this queue, and mends what differs; the same
   * for the keys of jobs, and for the times until which groups are parked.
   * @returns how many slots were given back and taken, keys given back, groups parked wrongly; all 0 unless something went wrong
   */
  repairSlots(): Promise<Repairs> {
    return this.#repair.all();
  }

  /**
   * The jobs of a group in this queue by state. Those `blocked` wait for others of their key, those `aside` for the gate
   * of their task; both are counted among the waiting ones, too.
   */
  async countGroup(groupId: string): Promise<GroupCounts> {
    const client = await this.queue.client;
    const [queued, blocked, aside, delayed, active] = await Promise.all([
      client.zcard(this.toKey(`fair:q::${groupId}`)),
      client.hget(this.toKey('fair:kb'), groupId),
      client.hget(this.toKey('fair:ag'), groupId),
      client.hget(this.toKey('fair:d'), groupId),
      this.#countActive(client, groupId),
    ]);
    return {
      waiting: queued + Number(blocked ?? 0) + Number(aside ?? 0),
      blocked: Number(blocked ?? 0),
      aside: Number(aside ?? 0),
      delayed: Number(delayed ?? 0),
      active,
    };
  }

  async #countActive(client: IRedisClient, groupId: string): Promise<number> {
    let total = 0;
    for (let from = 0; ; from += LOOKED_AT_ONCE) {
      const args = [this.toKey('active'), this.toKey(''), groupId, from, from + LOOKED_AT_ONCE - 1];
      const reply = (await this.execCommand(client, 'countActive', args)) as [number, number];
      total += reply[0];
      if (reply[1] < LOOKED_AT_ONCE) return total;
    }
  }

  /** The ids of a group's waiting jobs in the order in which they will run; `start` and `end` inclusive, from 0. */
  async getWaitingInGroup(groupId: string, start = 0, end = -1): Promise<string[]> {
    const client = await this.queue.client;
    return client.zrange(this.toKey(`fair:q::${groupId}`), start, end);
  }

  /**
   * Who waits in this queue. Where there are many groups the oldest job is that of some of them: at either end of the
   * line, and of those held, `sample` each. Costs Redis up to six calls for each.
   */
  async getLine(sample = 8): Promise<Line> {
    const client = await this.queue.client;
    const args = [this.toKey('fair:ring'), this.toKey('fair:park'), this.toKey(''), sample];
    const [runnable = 0, held = 0, oldestMs = -1] = (await this.execCommand(
      client,
      'line',
      args,
    )) as number[];
    return { runnable, held, oldestMs: oldestMs < 0 ? null : oldestMs };
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
    const [mark, names] = (await this.execCommand(client, 'setLimits', [
      `${prefix}:fair:limits`,
      `${prefix}:fair:queues`,
      prefix,
      groupId,
      kind,
      value,
    ])) as [string, string[]];
    if (groupId !== '*') return;
    // Any number of groups may go by these limits, too many for one script.
    for (const name of names)
      await settleAll((script, args) => this.#executeIn(`${prefix}${name}:`, script, args), mark);
  }

  /** Runs one of the scripts that work on a queue's groups. */
  async #executeIn(base: string, script: string, args: (string | number)[]): Promise<unknown> {
    const reply: unknown = await this.execCommand(await this.queue.client, script, [
      `${base}fair:idx`,
      base,
      ...args,
    ]);
    return reply;
  }
}
