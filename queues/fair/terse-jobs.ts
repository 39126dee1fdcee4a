import { raw2NextJobData, RedisQueueBackend } from 'bullmq';
import type { JobJson } from 'bullmq';
import { chargeIn } from './charged-jobs.ts';
import type { Charged, RunCharge } from './charged-jobs.ts';

/** What a claim answers: the job's fields, its id, and two times. */
type NextJob = [(JobJson & Charged) | null | undefined, ...unknown[]];

/** BullMQ's scripts that may claim a job. */
const CLAIMS: ReadonlySet<string> = new Set(['moveToActive', 'moveToFinished', 'moveToDelayed']);

/**
 * BullMQ's Redis backend, for jobs whose hash has no `delay` and no `priority` while they are 0, as `add.lua` stores them.
 * BullMQ's scripts take the absence for 0; its decoder makes NaN of it. Claimed jobs also tell what their run time costs.
 */
export class TerseJobsBackend extends RedisQueueBackend {
  /** What the run time of jobs costs whose claim BullMQ is decoding, by their ids. */
  readonly #charges = new Map<unknown, RunCharge>();

  override async moveToActive(
    ...args: Parameters<RedisQueueBackend['moveToActive']>
  ): ReturnType<RedisQueueBackend['moveToActive']> {
    return this.#completed(await super.moveToActive(...args));
  }

  override async moveToFinished(
    ...args: Parameters<RedisQueueBackend['moveToFinished']>
  ): ReturnType<RedisQueueBackend['moveToFinished']> {
    return this.#completed(await super.moveToFinished(...args));
  }

  override async moveToDelayed(
    ...args: Parameters<RedisQueueBackend['moveToDelayed']>
  ): ReturnType<RedisQueueBackend['moveToDelayed']> {
    return this.#completed(await super.moveToDelayed(...args));
  }

  override async getJobData(
    ...args: Parameters<RedisQueueBackend['getJobData']>
  ): ReturnType<RedisQueueBackend['getJobData']> {
    const json = await super.getJobData(...args);
    if (json) setZeros(json);
    return json;
  }

  /** Every call of a script. What the decoder of a claim drops is kept until it is through. */
  override execCommand(
    ...[client, command, args]: Parameters<RedisQueueBackend['execCommand']>
  ): ReturnType<RedisQueueBackend['execCommand']> {
    const called: unknown = super.execCommand(client, command, args);
    return CLAIMS.has(command) ? this.#keepingCharge(called) : called;
  }

  async #keepingCharge(called: unknown): Promise<unknown> {
    const reply = await called;
    const charge = chargeIn(reply);
    if (charge) this.#charges.set((reply as unknown[])[1], charge);
    return reply;
  }

  /** What a lean script's reply says of the next job. */
  protected nextJobOf(reply: unknown): NextJob {
    const next = raw2NextJobData(reply as unknown[]) as NextJob;
    if (next[0]) complete(next[0], chargeIn(reply));
    return next;
  }

  /** What BullMQ's decoder says of the next job, with what it leaves out. */
  #completed<T>(next: T): T {
    const [json, id] = Array.isArray(next) ? (next as unknown as NextJob) : [];
    if (!json) return next;
    complete(json, this.#charges.get(id));
    this.#charges.delete(id);
    return next;
  }
}

function complete(json: JobJson & Charged, charge: RunCharge | undefined): void {
  setZeros(json);
  if (charge) json.charge = charge;
}

function setZeros(json: JobJson): void {
  json.delay ||= 0;
  json.priority ||= 0;
}
