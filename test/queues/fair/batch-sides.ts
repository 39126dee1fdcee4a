import type { Job, Queue, Worker } from 'bullmq';
import { eventually } from '../../support/eventually.ts';
import type { End, Step } from './batch-program.ts';
import type { Lab } from './bullmq-lab.ts';

/** How many go in one call of a script, which ends all of them before it starts the next ones. */
const AT_ONCE = 16;

interface Active {
  job: Job;
  token: string;
}
type Ending = Active & Pick<End, 'fetch'>;

/** What became of a finish: the next job if there is one, or what it was refused for. */
interface Outcome {
  error?: string;
  next?: Active | null;
}

/** One queue of a lab on which programs run. What is asked for together, a subclass does together or one by one. */
export abstract class Side {
  readonly lab: Lab;
  protected readonly queue: Queue;
  protected readonly worker: Worker;
  #active: Active[] = [];
  #tokens = 0;

  constructor(lab: Lab) {
    this.lab = lab;
    this.queue = lab.queue('q');
    this.worker = lab.hand('q', { name: 'w' });
  }

  /** Ids, or what was wrong, in the order of the jobs. */
  protected abstract add(jobs: (Step & { op: 'add' })['jobs']): Promise<string[]>;

  protected abstract finish(endings: readonly Ending[]): Promise<Outcome[]>;

  /** The constructor writes to the meta key in the background. */
  async ready(): Promise<void> {
    await Promise.all([this.queue.waitUntilReady(), this.queue.getVersion()]);
    await eventually(
      'the queue is registered',
      async () => (await this.lab.redis.exists(`${this.base}meta`)) === 1,
    );
  }

  get base(): string {
    return `${this.lab.prefix}:q:`;
  }

  get activeCount(): number {
    return this.#active.length;
  }

  /** Performs a step and tells what can be seen of its answers. */
  async step(step: Step): Promise<unknown> {
    const backend = this.lab.backend(this.queue);
    switch (step.op) {
      case 'add':
        return this.add(step.jobs);
      case 'start':
        return this.#start(step.count);
      case 'finish':
        return this.#finish(step.ends);
      case 'limit':
        return backend.setGroupLimits(step.group, step.limits);
      case 'gate':
        return (await backend.changeGates([step.change]))?.map(({ kind, name, run }) => [kind, name, run]);
      case 'pause':
      case 'resume':
        return this.queue[step.op]();
      case 'concurrency':
        return this.queue.setGlobalConcurrency(7);
      case 'unlimited':
        return this.queue.removeGlobalConcurrency();
      case 'promote': {
        const delayed = await this.queue.getDelayed();
        return delayed[step.nth % Math.max(1, delayed.length)]?.promote();
      }
      case 'lose-queue':
        return this.lab.redis.del(`${this.base}fair:q::${step.group}`);
    }
  }

  protected async addOne({ name, opts }: (Step & { op: 'add' })['jobs'][number]): Promise<string> {
    try {
      return String((await this.queue.add(name, {}, { ...opts })).id);
    } catch (error) {
      return String(error);
    }
  }

  /** The error of a finish without the prefix. */
  protected refusal(error: unknown): Outcome {
    return { error: String(error).replaceAll(this.lab.prefix, 'P') };
  }

  protected async take(token: string): Promise<Active | null> {
    const job = (await this.worker.getNextJob(token, { block: false })) as Job | undefined;
    return job ? { job, token } : null;
  }

  async #start(count: number): Promise<unknown> {
    const seen: unknown[] = [];
    for (let i = 0; i < count; i += 1) {
      this.#tokens += 1;
      const next = await this.take(`t${this.#tokens}`);
      seen.push(visible({ next }));
      if (!next) break;
      this.#active.push(next);
    }
    return seen;
  }

  async #finish(ends: readonly End[]): Promise<unknown> {
    const endings: Ending[] = [];
    for (const { nth, fetch, fault } of ends) {
      const [active] = this.#active.splice(nth % Math.max(1, this.#active.length), 1);
      if (!active) break;
      const key = `${this.base}${active.job.id}`;
      if (fault === 'unlock') await this.lab.redis.del(`${key}:lock`);
      if (fault === 'lose') await this.lab.redis.del(key);
      if (fault === 'unlist') await this.lab.redis.lrem(`${this.base}active`, 0, active.job.id ?? '');
      endings.push({ ...active, ...(fault === 'token' ? { token: 'of another' } : {}), fetch });
    }
    const outcomes = await this.finish(endings);
    this.#active.push(...outcomes.flatMap(({ next }) => next ?? []));
    return outcomes.map(visible);
  }
}

function visible({ error, next }: Outcome): unknown {
  if (error !== undefined) return error;
  if (!next) return null;
  const { job, token } = next;
  return [job.id, job.name, job.attemptsStarted, job.processedBy, job.priority, job.opts, token];
}

/** What is asked for together, in one turn of the event loop. */
export class Together extends Side {
  protected override async add(jobs: (Step & { op: 'add' })['jobs']): Promise<string[]> {
    return Promise.all(jobs.map((job) => this.addOne(job)));
  }

  protected override async finish(endings: readonly Ending[]): Promise<Outcome[]> {
    return Promise.all(endings.map((ending) => this.#finishOne(ending)));
  }

  async #finishOne({ job, token, fetch }: Ending): Promise<Outcome> {
    try {
      const next = (await job.moveToCompleted('v', token, fetch)) as unknown;
      const [fields, id] = Array.isArray(next) ? (next as [never, string]) : [];
      return { next: id && fields ? { job: this.worker['createJob'](fields, id), token } : null };
    } catch (error) {
      return this.refusal(error);
    }
  }
}

/** One by one what the other side is asked for together. */
export class OneByOne extends Side {
  /** Those with an id that there is already are refused by the batch, and come after the others. */
  protected override async add(jobs: (Step & { op: 'add' })['jobs']): Promise<string[]> {
    const ids: string[] = [];
    const refused: number[] = [];
    for (const [i, job] of jobs.entries()) {
      const { jobId } = job.opts;
      const isPlain = !job.opts.delay && !job.opts.lifo && job.opts.group?.keyStrategy !== 'reject';
      if (isPlain && jobId && (await this.#isKnown(jobId, job.opts.group?.key))) refused.push(i);
      else ids[i] = await this.addOne(job);
    }
    for (const i of refused) {
      const job = jobs[i];
      if (job) ids[i] = await this.addOne(job);
    }
    return ids;
  }

  async #isKnown(jobId: string, key: string | undefined): Promise<boolean> {
    if ((await this.lab.redis.exists(`${this.base}${jobId}`)) === 1) return true;
    return key !== undefined && (await this.lab.redis.hexists(`${this.base}fair:kj`, jobId)) === 1;
  }

  /** All end before the first of them gets a next job. */
  protected override async finish(endings: readonly Ending[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (let from = 0; from < endings.length; from += AT_ONCE)
      outcomes.push(...(await this.#finishSome(endings.slice(from, from + AT_ONCE))));
    return outcomes;
  }

  async #finishSome(endings: readonly Ending[]): Promise<Outcome[]> {
    const [newest] = await this.lab.redis.xrevrange(`${this.base}events`, '+', '-', 'COUNT', 1);
    const outcomes: Outcome[] = [];
    for (const { job, token } of endings) {
      try {
        await job.moveToCompleted('v', token, false);
        outcomes.push({ next: null });
      } catch (error) {
        outcomes.push(this.refusal(error));
      }
    }
    const ended = endings.filter((_, i) => outcomes[i]?.error === undefined);
    if (ended.every(({ fetch }) => fetch) && (await this.#isSomethingDue()))
      await this.#hush(newest?.[0] ?? '-');
    // Whoever finds nothing has passed over many that may not run, and leaves those behind them to the next call.
    let isDry = false;
    for (const [i, { token, fetch }] of endings.entries()) {
      const outcome = outcomes[i];
      if (!fetch || isDry || !outcome || outcome.error !== undefined) continue;
      outcome.next = await this.take(token);
      isDry = outcome.next === null;
    }
    return outcomes;
  }

  /** Who fetches is told of a pause, or when something is due, instead of `drained`; that is BullMQ's rule. */
  async #isSomethingDue(): Promise<boolean> {
    return (await this.queue.isPaused()) || (await this.queue.getDelayedCount()) > 0;
  }

  /** Takes back that the queue is drained, if it was said after an entry of the event stream. */
  async #hush(after: string): Promise<void> {
    const events = `${this.base}events`;
    const from = after === '-' ? after : `(${after}`;
    for (const [id, fields] of await this.lab.redis.xrange(events, from, '+'))
      if (fields[1] === 'drained') await this.lab.redis.xdel(events, id);
  }
}
