import type { Duplex } from 'node:stream';
import type { IRedisTransaction, JobJson, KeepJobs, RedisQueueBackend, WorkerOptions } from 'bullmq';
import { groupOf, KeyBusyError } from './group-options.ts';
import { holdWrites } from './held-writes.ts';
import { TerseJobsBackend } from './terse-jobs.ts';
import { AT_ONCE, isFull, TurnBatches } from './turn-batches.ts';

type AddJob = Parameters<RedisQueueBackend['addJob']>;

/** What a lean script answers when the case is not plain. */
const NOT_PLAIN = -200;
/** The answers that say so, and for how long others are not likely to be plain either: a limit on the queue, this job, due jobs. */
const LEAN_PAUSES_MS = new Map<unknown, number>([
  [NOT_PLAIN, 100],
  [-201, 0],
  [-202, 5],
]);

/** What `complete.lua` answers for a job that it has not looked at: another call is to. */
const NOT_YET = -203;
/** For how long it is then sent no more than it took: what keeps it busy passes slowly. */
const SMALL_BATCHES_MS = 100;

/** What `reject.lua` answers for a job whose key is taken. */
const KEY_BUSY = -120;

/** Options that BullMQ stores under other names, or that need its own script. */
const NOT_PLAIN_OPTIONS = [
  'lifo',
  'deduplication',
  'keepLogs',
  'telemetry',
  'failParentOnFailure',
  'continueParentOnFailure',
  'ignoreDependencyOnFailure',
  'removeDependencyOnFailure',
];

/** The scripts that leave jobs out by the marks of their transaction. */
const ADD_SCRIPTS: ReadonlySet<string> = new Set([
  'addStandardJob',
  'addPrioritizedJob',
  'addDelayedJob',
  'addParentJob',
]);

/** The scripts that take many jobs at once, and how many values they take for each, at least. */
const BATCH_SCRIPTS: ReadonlySet<string> = new Set(['add', 'complete']);
const VALUES_EACH = 5;

/** Transactions under way and the hashes of their marks. */
const marksOf = new WeakMap<object, string>();

/** What `add.lua` needs of a job. */
type PlainJob = [
  id: string,
  name: string,
  timestamp: number,
  data: string,
  options: string,
  priority: number,
  group: string,
  key: string,
];

const lengthOf = ([, , , data, options]: PlainJob): number => data.length + options.length;

/** What `complete.lua` needs of a job: id, return value, token, whether to keep it, whether to fetch a next one. */
type Finish = [id: string, returnValue: string, token: string, keep: number, fetch: number];

/**
 * BullMQ's Redis backend with lean scripts on the hot paths: plain jobs, most of all, are added, started and completed by
 * `add.lua`, `start.lua` and `complete.lua`. They send one key and strings where BullMQ sends up to 14 keys and packed
 * objects, which is a third of a client's work. Whatever is not plain goes BullMQ's way.
 */
export class LeanBackend extends TerseJobsBackend {
  /** On the process's own clock, which never jumps. */
  #leanAgainAt = 0;
  #smallUntil = 0;
  readonly #adds = new TurnBatches((jobs: PlainJob[]) => this.#addPlainly(jobs));
  readonly #finishes = new TurnBatches((finishes: Finish[]) => this.#complete(finishes));

  override async addJob(...args: AddJob): Promise<string> {
    const plain = this.#plainAdd(...args);
    if (plain === null) {
      this.#adds.flush();
      return super.addJob(...args);
    }
    const id = await this.#adds.add(plain, lengthOf(plain));
    return id === NOT_PLAIN ? super.addJob(...args) : (id as string);
  }

  async #addPlainly(jobs: PlainJob[]): Promise<(string | number)[]> {
    const client = await this.queue.client;
    const ids: unknown = await this.execCommand(client, 'add', [this.toKey(''), ...jobs.flat()]);
    return ids as (string | number)[];
  }

  /** A job that was refused, see {@link KeyBusyError}, has an empty id; the others are added all the same. */
  override async addJobs(...[entries]: Parameters<RedisQueueBackend['addJobs']>): Promise<string[]> {
    this.#adds.flush();
    const client = await this.queue.client;
    const pipeline = client.pipeline();
    let [batch, characters]: [PlainJob[], number] = [[], 0];
    const flush = (): void => {
      if (batch.length > 0) void this.execCommand(pipeline, 'add', [this.toKey(''), ...batch.flat()]);
      [batch, characters] = [[], 0];
    };
    // Both put their command into the pipeline before they return.
    for (const { job, jobId, parentKeyOpts } of entries) {
      const plain = this.#plainAdd(job, jobId, parentKeyOpts);
      if (plain) {
        batch.push(plain);
        characters += lengthOf(plain);
      }
      if (!plain || isFull(batch.length, characters)) flush();
      if (!plain) void this.addJobToTransaction(pipeline, job, jobId, parentKeyOpts);
    }
    flush();
    const replies = (await pipeline.exec()) as [Error | null, string | number | (string | number)[]][];
    const answers = replies.flatMap(([error, reply]) => {
      if (error) throw error;
      return reply;
    });
    const ids: string[] = [];
    for (const [index, { job, jobId, parentKeyOpts }] of entries.entries()) {
      const id = answers[index];
      if (id === NOT_PLAIN) ids.push(await super.addJob(job, jobId, parentKeyOpts));
      else ids.push(id === KEY_BUSY ? '' : String(id));
    }
    return ids;
  }

  /** What `add.lua` needs of a plain job; null for the others. @throws TypeError for a wrong group */
  #plainAdd(job: JobJson, jobId: AddJob[1], parentKeyOpts: AddJob[2] = {}): PlainJob | null {
    const opts = job.opts as unknown as Record<string, unknown>;
    const group = groupOf(opts);
    if (job.parent || job.parentKey || job.repeatJobKey || job.deduplicationId) return null;
    if (parentKeyOpts.addToWaitingChildren || parentKeyOpts.parentDependenciesKey) return null;
    if (NOT_PLAIN_OPTIONS.some((option) => opts[option] !== undefined)) return null;
    if ((group?.keyStrategy ?? 'queue') !== 'queue') return null;
    const { delay = 0, priority = 0 } = opts as { delay?: number; priority?: number };
    if (delay !== 0 || !(priority >= 0)) return null;
    return [
      jobId ?? '',
      job.name,
      job.timestamp,
      job.data,
      JSON.stringify(opts),
      priority,
      group?.id ?? '',
      group?.key === undefined ? '' : `k${group.key}`,
    ];
  }

  override async moveToActive(
    ...args: Parameters<RedisQueueBackend['moveToActive']>
  ): ReturnType<RedisQueueBackend['moveToActive']> {
    const [token, name = ''] = args;
    const { limiter, lockDuration = 0 } = this.queue.opts as WorkerOptions;
    const now = Date.now();
    if (limiter || !this.#mayBeLean()) return super.moveToActive(...args);
    const client = await this.queue.client;
    const reply: unknown = await this.execCommand(client, 'start', [
      this.toKey(''),
      now,
      name,
      token,
      lockDuration,
    ]);
    return this.#isRefusal(reply) ? super.moveToActive(...args) : this.nextJobOf(reply);
  }

  override async moveToCompleted(
    ...args: Parameters<RedisQueueBackend['moveToCompleted']>
  ): ReturnType<RedisQueueBackend['moveToCompleted']> {
    const [job, returnValue, removeOnComplete, token, fetchNext] = args;
    const keep = this.#keepsPlainly(removeOnComplete);
    if (keep === null || token === '0' || !isPlain(job) || !this.#mayBeLean())
      return super.moveToCompleted(...args);
    // As BullMQ stores what has no JSON.
    const result = JSON.stringify(returnValue) ?? 'null';
    const fetch = fetchNext && !this.queue.closing ? 1 : 0;
    const finish: Finish = [job.id ?? '', result, token, keep, fetch];
    let ended = await this.#finishes.add(finish, result.length);
    while (ended.reply === NOT_YET) ended = await this.#finishes.add(finish, result.length);
    const { reply, finishedOn } = ended;
    if (this.#isRefusal(reply)) return super.moveToCompleted(...args);
    if (typeof reply === 'number' && reply < 0)
      throw this.finishedErrors({
        code: reply,
        jobId: job.id ?? '',
        command: 'moveToFinished',
        state: 'active',
      });
    return { result: this.nextJobOf(reply), finishedOn };
  }

  async #complete(finishes: Finish[]): Promise<{ reply: unknown; finishedOn: number }[]> {
    const { lockDuration = 0, name = '' } = this.queue.opts as WorkerOptions;
    const finishedOn = Date.now();
    const client = await this.queue.client;
    const args = [this.toKey(''), finishedOn, lockDuration, name, ...finishes.flat()];
    const reply: unknown = await this.execCommand(client, 'complete', args);
    if (!Array.isArray(reply)) return finishes.map(() => ({ reply, finishedOn }));
    this.#learnFrom(reply);
    return reply.map((each: unknown) => ({ reply: each, finishedOn }));
  }

  /** How many jobs a call takes is known from one that left some. */
  #learnFrom(replies: unknown[]): void {
    const taken = replies.indexOf(NOT_YET);
    if (taken > 0) {
      this.#finishes.most = taken;
      this.#smallUntil = performance.now() + SMALL_BATCHES_MS;
    } else if (this.#finishes.most < AT_ONCE && performance.now() >= this.#smallUntil) {
      this.#finishes.most = AT_ONCE;
    }
  }

  /** Every call of a script; see {@link holdWrites}. */
  override execCommand(
    ...[client, command, args]: Parameters<RedisQueueBackend['execCommand']>
  ): ReturnType<RedisQueueBackend['execCommand']> {
    const size = BATCH_SCRIPTS.has(command) ? (args as unknown[]).length / VALUES_EACH : 1;
    holdWrites((client as { stream?: Duplex }).stream, size);
    const marks = ADD_SCRIPTS.has(command) ? marksOf.get(client) : undefined;
    return super.execCommand(client, command, marks === undefined ? args : [...(args as unknown[]), marks]);
  }

  /**
   * A transaction for `addJobToTransaction` of this and other queues of the prefix. Its adds leave out the jobs whose ids
   * are fields of the hash `marks`, all of them when `*` is one; earlier parts of it may set them, its last removes them.
   */
  async beginTransaction(marks: string): Promise<IRedisTransaction> {
    const transaction = (await this.queue.client).multi();
    marksOf.set(transaction, marks);
    return transaction;
  }

  /** Whether a lean script refused; then others need not ask for a while. */
  #isRefusal(reply: unknown): boolean {
    const pauseMs = LEAN_PAUSES_MS.get(reply);
    if (pauseMs === undefined) return false;
    this.#leanAgainAt = performance.now() + pauseMs;
    return true;
  }

  #mayBeLean(): boolean {
    return performance.now() >= this.#leanAgainAt;
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
}

/** Whether nothing that is known of the job here keeps it from a lean finish. */
function isPlain(job: object): boolean {
  const { parentKey, deduplicationId } = job as { parentKey?: string; deduplicationId?: string };
  return !parentKey && !deduplicationId;
}
