import { Job, QueueKeys } from 'bullmq';
import type { FlowJob, IRedisTransaction } from 'bullmq';
import { DEFAULT_QUEUE } from '../jobs/prepare.ts';
import type { PreparedDedupe, PreparedJob } from '../jobs/prepare.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';
import { recordOf } from './record.ts';
import { SentBeforeError } from './types.ts';
import type { Once, StoredAnswer } from './types.ts';

const KEEP_MS = 86_400_000;
const LOOK = 'waggleOnceLook';
const NOTE = 'waggleOnceNote';

/** Adds commands to a transaction, at once. */
type Step = (transaction: IRedisTransaction) => void;

/**
 * The jobs of a request, added in one transaction together with the note that it was here, so that neither a crash nor
 * another process can come between.
 */
export class EnqueueTransaction {
  readonly #topology: Topology;
  readonly #tenant: string;
  readonly #createdAt: number;
  readonly #shard: number;
  readonly #marks: string;
  /** For each job its id, or `!` and the reason for which it is not added. */
  readonly #noted: string[] = [];
  readonly #steps: Step[] = [];

  /** @param createdAt of its jobs, ms */
  constructor(topology: Topology, tenant: string, createdAt: number) {
    this.#topology = topology;
    this.#tenant = tenant;
    this.#createdAt = createdAt;
    this.#shard = topology.shardOf(tenant);
    this.#marks = topology.keys.tenantMarks(this.#shard, tenant);
    defineScript(topology.redis, NOTE, new URL('./note.lua', import.meta.url), 3);
  }

  /** @param hasRoom false when the tenant has no room for it: then only another job may stand for it */
  addJob(job: PreparedJob, hasRoom: boolean): void {
    const { dedupe } = job;
    this.#noted.push(hasRoom || dedupe ? job.id : '!full');
    if (!hasRoom && !dedupe) return;
    const queue = this.#topology.queue(this.#shard, job.queue);
    const json = new Job(queue, job.task, job.envelope, job.options, job.id).asJSON();
    this.#steps.push((transaction) => {
      if (dedupe) this.#deduplicate(transaction, queue.getBackend(), job, dedupe, hasRoom);
      void queue.getBackend().addJobToTransaction(transaction, json, job.id);
    });
  }

  async addFlow(root: FlowJob, ids: readonly string[]): Promise<void> {
    this.#noted.push(...ids);
    const entries = await this.#topology.flowProducer(this.#shard).entriesOf(root);
    const backend = this.#backend();
    for (const { jobData, jobId, parentKeyOpts, prefix, queueName } of entries) {
      const keys = new QueueKeys(prefix).getKeys(queueName);
      this.#steps.push((transaction) => {
        void backend.addJobToTransaction(transaction, jobData, jobId, parentKeyOpts, keys);
      });
    }
  }

  /**
   * @param once the request, when it came with an idempotency key
   * @param answer what it is going to be answered if all of it is stored, where that is known
   * @returns for each job its id; the id of another that stands for it; or `!` and why there is none
   * @throws SentBeforeError when it was here before; WaggleError idempotency_key_reused, idempotency_in_progress
   */
  async commit(once?: Once, answer?: StoredAnswer): Promise<string[]> {
    const { keys } = this.#topology;
    const record = keys.tenantOnce(this.#shard, this.#tenant, once?.key ?? '');
    const transaction = await this.#backend().beginTransaction(this.#marks);
    if (once) transaction.runCommand(LOOK, [record, this.#marks, '1']);
    for (const step of this.#steps) step(transaction);
    const index = keys.tenantJobs(this.#shard, this.#tenant);
    transaction.runCommand(NOTE, [record, this.#marks, index, ...this.#noteArgs(once, answer)]);
    const replies = await transaction.exec();
    for (const [error] of replies ?? []) if (error) throw error;
    const known = once ? recordOf(replies?.[0]?.[1], once) : null;
    if (known) throw new SentBeforeError(known);
    const outcomes = replies?.at(-1)?.[1] as string[];
    if (once) {
      once.isStored = outcomes.some(isId);
      once.isAnswered = once.isStored && answer !== undefined;
    }
    return outcomes;
  }

  #deduplicate(
    transaction: IRedisTransaction,
    backend: FairQueueBackend,
    { id, queue, task, options }: PreparedJob,
    { mode, hash, change, windowMs, payloadBytes }: PreparedDedupe,
    hasRoom: boolean,
  ): void {
    const window = this.#topology.keys.tenantDedupe(this.#shard, this.#tenant, queue, hash);
    void backend.execCommand(transaction, 'deduplicate', [
      ...[backend.toKey(''), this.#marks, window],
      ...[id, options.deduplication?.id ?? '', mode, task, change, options.delay ?? 0],
      ...[windowMs, payloadBytes, hasRoom ? 1 : 0],
    ]);
  }

  #noteArgs(once?: Once, answer?: StoredAnswer): (string | number)[] {
    return [
      once?.fingerprint ?? '',
      once?.leaseMs ?? 0,
      KEEP_MS,
      answer === undefined ? '' : JSON.stringify(answer),
      this.#topology.prefix(this.#shard),
      this.#createdAt,
      ...this.#noted,
    ];
  }

  #backend(): FairQueueBackend {
    return this.#topology.queue(this.#shard, DEFAULT_QUEUE).getBackend();
  }
}

/** Whether an outcome is the id of a job, not the reason why there is none. */
export function isId(outcome: string): boolean {
  return !outcome.startsWith('!');
}
