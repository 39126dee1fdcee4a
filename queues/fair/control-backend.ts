import { randomUUID } from 'node:crypto';
import type { Job } from 'bullmq';
import { LeanBackend } from './lean-backend.ts';

/** What `fail-waiting.lua`, `fail-active.lua` and `fail-cancelled.lua` answer for a job that is not in the state they ask for. */
const NOT_TO_FAIL = -100;

/** Scripts in a row that take superseded jobs off, 50 each: there may be jobs among them that are spared. */
const TAKEN_OFF_STEPS = 10;

/** What of a waiting or delayed job is to become different; the rest stays. */
export interface JobChanges {
  /** BullMQ's options, as JSON; `priority` is among them. */
  options: string;
  /** As BullMQ counts it. */
  priority: number;
  /** JSON; null = as it is. */
  data: string | null;
  /** ms epoch; null = where it is now. A time that has come makes it wait. */
  runAt: number | null;
}

/** What of a failed job is to become different when it comes to wait again. */
export interface Revival {
  /** JSON; null = as it is. */
  data: string | null;
}

/** What somebody outside does to single jobs: end them, bring them back, change them. Each is one script. */
export class ControlBackend extends LeanBackend {
  /**
   * Records a job that has not started (waiting, delayed or waiting for children) as failed, at once, by the rules of
   * any failure: its parent, events and deduplication follow. It spends no attempt.
   * @param onlyUnstarted whether to leave a job alone that waits for another attempt, or was handed back
   * @returns false when the job is active, finished or gone; nothing has changed then
   */
  failWaiting(job: Job, reason: string, onlyUnstarted = false): Promise<boolean> {
    return this.#failAs('failWaiting', job, reason, onlyUnstarted ? ['unstarted'] : []);
  }

  /**
   * Records a job as failed that was asked to stop and that has had its grace; its worker, if it has one, can record
   * nothing any more.
   * @param reason unless another was given when it was asked
   * @returns false when the job is not to be cancelled, or not yet; nothing has changed then
   */
  failCancelled(job: Job, reason: string): Promise<boolean> {
    return this.#failAs('failCancelled', job, reason);
  }

  /**
   * Records an active job as failed at once, with no grace: its worker is told to stop, and can record nothing any more.
   * @returns false when the job is not active; nothing has changed then
   */
  failActive(job: Job, reason: string): Promise<boolean> {
    return this.#failAs('failActive', job, reason);
  }

  /**
   * Asks an active job to stop: workers hear of it on {@link cancelChannel}, and when its grace is over
   * {@link getDueCancels} names it. Asked again, the shorter grace holds, and the first reason.
   * @returns false when the job is not active; nothing has changed then
   */
  async askToStop(jobId: string, graceMs: number, reason: string): Promise<boolean> {
    const client = await this.queue.client;
    const args = [this.toKey('fair:cancels'), this.toKey(''), jobId, graceMs, reason];
    return (await this.execCommand(client, 'cancel', args)) === 1;
  }

  /**
   * Jobs that newer ones of their key, or {@link askToStop}, have put an end to: `unstarted` ones are to be given to
   * {@link failWaiting}, `overdue` ones to {@link failCancelled}. Whoever adds jobs with such strategies, or runs workers,
   * looks now and then.
   */
  async getDueCancels(most = 100): Promise<{ unstarted: string[]; overdue: string[] }> {
    const client = await this.queue.client;
    const [base, behind] = [this.toKey(''), this.toKey('fair:ks')];
    const args = [this.toKey('fair:superseded'), this.toKey('fair:cancels'), behind, base, most];
    for (let step = 0; ; step += 1) {
      const reply: unknown = await this.execCommand(client, 'dueCancels', args);
      const [unstarted, overdue, left] = reply as [string[], string[], number];
      if (left === 0 || unstarted.length >= most || step === TAKEN_OFF_STEPS) return { unstarted, overdue };
      await this.execCommand(client, 'supersede', [behind, base]);
    }
  }

  /**
   * The channel on which this prefix says of an active job that it is to stop: a JSON array of its queue, its id, the
   * reason of its failure, which is empty when a newer job of its key supersedes it, and its grace in ms.
   */
  get cancelChannel(): string {
    return `${this.redisPrefix}:cancel`;
  }

  /**
   * Lets a failed job wait again, behind all others, as if it had made no attempt. A strategy of its key does not apply:
   * it is no newer than the others of its key.
   * @returns false when the job is not failed (any more); nothing has changed then
   */
  async revive(jobId: string, revival: Revival): Promise<boolean> {
    const client = await this.queue.client;
    const { wait, meta, active, marker, prioritized, pc, events, failed } = this.queue.keys;
    const keys = [this.toKey(jobId), events, failed, wait, meta, active, marker, prioritized, pc];
    const args = [jobId, 'LPUSH', 'failedReason', 'failed', '1', '0', revival.data ?? ''];
    return (await this.execCommand(client, 'revive', [...keys, ...args])) === 1;
  }

  /**
   * Changes a waiting or delayed job. Another priority puts it behind the others of that priority; inside its key it keeps
   * its place, unless it has not started and is put off.
   * @returns false when the job neither waits nor is delayed; nothing has changed then
   */
  async amend(jobId: string, changes: JobChanges): Promise<boolean> {
    const { options, priority, runAt } = changes;
    const client = await this.queue.client;
    const args = [this.toKey(''), jobId, options, priority, changes.data ?? '', runAt ?? ''];
    return (await this.execCommand(client, 'amend', args)) === 1;
  }

  async #failAs(command: string, job: Job, reason: string, more: readonly string[] = []): Promise<boolean> {
    const args = this.moveToFinishedArgs(
      job,
      reason,
      'failedReason',
      job.opts.removeOnFail,
      'failed',
      randomUUID(),
      Date.now(),
      false,
    ) as unknown[];
    const client = await this.queue.client;
    const code = Number(await this.execCommand(client, command, [...args, ...more]));
    if (code === NOT_TO_FAIL) return false;
    if (code < 0) throw this.finishedErrors({ code, jobId: job.id ?? '', command, state: 'waiting' });
    return true;
  }
}
