import { UnrecoverableError } from 'bullmq';
import type { Job, JobsOptions } from 'bullmq';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import * as moves from './job-moves.ts';
import { fairStateOf, pairs, snapshot } from './keyspace.ts';
import type { FairState, Snapshot } from './keyspace.ts';
import { problemsOf } from './scheduler-checks.ts';
import { advance, jump } from './scheduler-clock.ts';
import { SchedulerModel, nameOf } from './scheduler-model.ts';
import type { SchedulerJob } from './scheduler-model.ts';
import { GROUPS, KEYS, QUEUES } from './scheduler-program.ts';
import type { Named, Operation, Place } from './scheduler-program.ts';
import { TOKENS } from './scheduler-shard.ts';
import type { Shard } from './scheduler-shard.ts';
import { ShareWatch } from './share-watch.ts';

/** Between two operations, by the callers' clocks: enough for a lean finish after one that was not plain. */
const STEP_MS = 150;

const serverNow = Date.now;

/** What a worker that holds no lock of the job, or a job whose hash is gone, is answered. */
const REFUSED = Symbol('refused');

/** As in virtual/delayed.lua. */
const PROMOTED_AT_ONCE = 5;

/** One prefix beside its model. Every step does one thing to both and compares them. */
export class Walk {
  readonly model: SchedulerModel;
  readonly #shard: Shard;
  readonly #running = new Map<string, { job: Job; token: string }>();
  readonly #watches = new Map(QUEUES.map((name) => [name as string, new ShareWatch()]));
  readonly #virtualTimes = new Map<string, number>();
  /** The groups that had waiting jobs after the last step. */
  readonly #indexed = new Map<string, string[]>();
  /** Queues whose marker nobody owes to set again: a worker that found nothing took it. */
  readonly #unmarked = new Set<string>();
  readonly #vanished = new Set<string>();
  #advancedMs = 0;
  #stepsMs = 0;
  /** The callers' clock. */
  #clockMs = 0;

  constructor(shard: Shard) {
    this.#shard = shard;
    this.model = new SchedulerModel(QUEUES, () => serverNow() + this.#advancedMs);
  }

  /** @throws Error that says what is wrong after the step */
  async step(operation: Operation): Promise<void> {
    this.#stepsMs += STEP_MS;
    this.#clockMs = serverNow() + this.#advancedMs + this.#stepsMs;
    Date.now = () => this.#clockMs;
    let wrong: string[] | void;
    try {
      wrong = await this.#do(operation);
    } finally {
      Date.now = serverNow;
    }
    const problems = [...(wrong ?? []), ...(await this.#check())];
    if (problems.length > 0) throw new Error(problems.join('\n'));
  }

  #do(operation: Operation): Promise<string[] | void> {
    switch (operation.op) {
      case 'add':
        return this.#add(operation);
      case 'flow':
        return this.#addFlow(operation);
      case 'pick':
        return this.#pick(operation);
      case 'complete':
        return this.#complete(operation);
      case 'spawn':
        return this.#spawn(operation);
      case 'fail':
      case 'retry':
      case 'postpone':
      case 'hand-back':
      case 'lose-lock':
      case 'steal':
        return this.#moveActive(operation.op, operation.nth);
      case 'promote':
      case 'change-delay':
      case 'remove':
      case 'fail-waiting':
        return this.#moveOther(operation.op, operation.nth);
      case 'reprioritize':
        return this.#reprioritize(operation);
      case 'vanish':
        return this.#vanish(operation);
      case 'check-stalled':
        return this.#checkStalled(operation.queue);
      case 'drain':
      case 'clean':
      case 'obliterate':
        return this.#removeMany(operation);
      case 'sweep':
        return this.#sweep(operation.queue);
      case 'repair':
        return this.#repair(operation.queue);
      case 'pause':
      case 'resume':
      case 'concurrency':
        return this.#changeQueue(operation);
      case 'limit':
      case 'pause-group':
      case 'resume-group':
        return this.#changeLimits(operation);
      case 'lose-queue':
        return this.#loseQueue(operation);
      case 'advance':
        return this.#advance(operation.ms);
      case 'jump':
        return this.#jump(operation);
    }
  }

  // Jobs come.

  async #add(operation: Named<'add'>): Promise<void> {
    const { queue, place, count, strategy, delayed, keep } = operation;
    const lifo = operation.lifo && place.priority === 0;
    const opts = optionsOf(place, place.key === '' ? undefined : strategy);
    opts.removeOnComplete = { all: false, none: true, few: { count: 2 } }[keep];
    if (lifo) opts.lifo = true;
    if (delayed) opts.delay = moves.HOUR_MS;
    const bulk = Array.from({ length: count }, () => ({ name: 'j', data: {}, opts }));
    for (const { id = '' } of await this.#shard.queue(queue).addBulk(bulk)) {
      const { group, key, keyLimit } = place;
      const isRefused = key !== '' && strategy === 'reject' && this.model.isBusy(queue, group, key, keyLimit);
      if (isRefused !== (id === '')) throw new Error(`refused: ${isRefused}, and the id of the job is ${id}`);
      const spec = { ...place, id, queue, strategy: key === '' ? 'queue' : strategy, lifo } as const;
      if (isRefused) continue;
      if (delayed) this.model.addLater(spec, 'delayed');
      else this.model.add(spec);
    }
  }

  async #addFlow({ queue, place, children }: Named<'flow'>): Promise<void> {
    const node = await this.#shard.lab.addFlow({
      name: 'parent',
      queueName: queue,
      opts: anyId(optionsOf(place)),
      children: children.map((child) => ({
        name: 'child',
        queueName: child.queue,
        opts: { ...anyId(optionsOf(child.place)), ignoreDependencyOnFailure: true },
      })),
    });
    const parent = this.model.addLater({ ...place, id: node.job.id ?? '', queue }, 'children');
    const jobs = children.map((child, i) => {
      const id = node.children?.[i]?.job.id ?? '';
      return this.model.create({ ...child.place, id, queue: child.queue }, parent);
    });
    for (const job of jobs) this.model.arrive(job);
  }

  // Jobs start and end.

  async #pick({ queue, worker: index, woken, skewMs }: Named<'pick'>): Promise<string[]> {
    this.#clockMs += skewMs;
    const worker = this.#shard.worker(queue, index);
    const token = TOKENS[index] ?? '';
    if (woken) await this.#shard.lab.redis.zpopmin(`${this.#shard.base(queue)}marker`);
    const due = await this.#due(queue);
    const job = (await worker.getNextJob(token, { block: false })) as Job | undefined;
    this.model.promote(due);
    if (woken && !job) this.#unmarked.add(queue);
    return this.#picked(queue, job, token);
  }

  #picked(queue: string, job: Job | undefined, token: string): string[] {
    const { ghosts } = this.model.flagsOf(queue);
    if (job) {
      const id = job.id ?? '';
      const { group, cost } = this.model.job(queue, id);
      this.model.start(queue, id, this.#clockMs);
      this.#running.set(`${queue}:${id}`, { job, token });
      return this.#watches.get(queue)?.served(group, cost) ?? [];
    }
    if (!this.model.isOpen(queue) || ghosts.size > 0) return [];
    const may = this.model
      .waitingGroups(queue)
      .filter((each) => this.model.verdict(queue, each).may === 'yes');
    return may.length === 0 ? [] : [`${queue}: nothing was picked and ${JSON.stringify(may)} may run`];
  }

  async #complete({ nth, fetch }: Named<'complete'>): Promise<string[]> {
    const found = this.model.nth(nth, 'active');
    if (!found) return [];
    const { queue } = found;
    const { job, token } = this.#run(found);
    const due = fetch ? await this.#due(queue) : [];
    const next = await this.#attempt(found, () => job.moveToCompleted('done', token, fetch));
    if (next === REFUSED) return [];
    this.#running.delete(nameOf(found));
    this.model.finish(found);
    this.model.promote(due);
    if (!fetch) return [];
    const [fields, id] = Array.isArray(next) ? (next as [never, string]) : [];
    const worker = this.#shard.worker(
      queue,
      TOKENS.findIndex((each) => each === token),
    );
    return this.#picked(queue, id && fields ? worker['createJob'](fields, id) : undefined, token);
  }

  async #moveActive(
    op: 'fail' | 'retry' | 'postpone' | 'hand-back' | 'lose-lock' | 'steal',
    nth: number,
  ): Promise<void> {
    const found = this.model.nth(nth, 'active');
    if (!found) return;
    const { queue } = found;
    const { job, token } = this.#run(found);
    const { lab } = this.#shard;
    switch (op) {
      case 'lose-lock':
        await moves.loseLock(lab, job);
        found.isLocked = false;
        return;
      case 'steal':
        await expectRefused(() => job.moveToCompleted('stolen', 'thief', false));
        return;
      case 'retry': {
        const isLast = found.hash === 'partial';
        const due = isLast ? [] : await this.#due(queue);
        const answer = await this.#attempt(found, () => moves.retry(job, token));
        this.model.promote(due);
        if (answer === REFUSED) return;
        if (isLast) this.model.finish(found);
        else this.model.retry(found);
        break;
      }
      case 'fail': {
        const end = () => job.moveToFailed(new UnrecoverableError('no'), token, false);
        if ((await this.#attempt(found, end)) === REFUSED) return;
        this.model.finish(found);
        break;
      }
      case 'postpone':
        if ((await this.#attempt(found, () => moves.postpone(job, token))) === REFUSED) return;
        this.model.postpone(found);
        break;
      case 'hand-back': {
        const worker = this.#shard.worker(queue);
        if ((await this.#attempt(found, () => moves.handBack(lab, worker, job, token))) === REFUSED) return;
        this.model.handBack(found);
        break;
      }
    }
    this.#running.delete(nameOf(found));
  }

  async #spawn({ nth, queue }: Named<'spawn'>): Promise<void> {
    const found = this.model.nth(nth, 'active');
    if (!found?.isLocked || found.hash !== 'whole') return;
    const { job, token } = this.#run(found);
    const parent = { id: found.id, queue: job.queueQualifiedName };
    const child = await this.#shard
      .queue(queue)
      .add('child', {}, { attempts: 50, parent, ignoreDependencyOnFailure: true });
    this.model.arrive(this.model.create({ id: child.id ?? '', queue, group: '' }, found));
    if (!(await job.moveToWaitingChildren(token))) throw new Error(`${found.id} does not wait for its child`);
    this.model.awaitChildren(found);
    this.#running.delete(nameOf(found));
  }

  async #checkStalled(queue: string): Promise<void> {
    await moves.checkStalled(this.#shard.lab, this.#shard.worker(queue));
    const stalled = this.model.checkStalled(queue);
    for (const job of stalled) this.#running.delete(nameOf(job));
    this.model.repairKeys(queue);
    await this.#adoptOrder(stalled);
  }

  // Jobs that do not run.

  async #moveOther(op: 'promote' | 'change-delay' | 'remove' | 'fail-waiting', nth: number): Promise<void> {
    const states = op === 'promote' || op === 'change-delay' ? [] : (['waiting', 'blocked'] as const);
    const found = this.model.nth(nth, 'delayed', ...states);
    const isRecordable = found?.hash === 'whole' || (found?.hash === 'partial' && op === 'fail-waiting');
    if (!found || (!isRecordable && op !== 'remove')) return;
    const job = await this.#shard.queue(found.queue).getJob(found.id);
    switch (op) {
      case 'promote':
        await job?.promote();
        this.model.promote([found]);
        break;
      case 'change-delay':
        await job?.changeDelay((nth % 2) * moves.HOUR_MS + moves.HOUR_MS);
        break;
      case 'remove':
        if ((await this.#shard.queue(found.queue).remove(found.id)) !== 1)
          throw new Error(`${found.id} stays`);
        this.model.remove(found);
        break;
      case 'fail-waiting':
        if (!job || !(await this.#backend(found.queue).failWaiting(job, 'no')))
          throw new Error(`${found.id} stays`);
        this.model.finish(found);
        break;
    }
  }

  async #reprioritize({ nth, priority, lifo }: Named<'reprioritize'>): Promise<void> {
    const found = this.model.nth(nth, 'waiting', 'blocked');
    if (found?.hash !== 'whole') return;
    const job = await this.#shard.queue(found.queue).getJob(found.id);
    await job?.changePriority({ priority, lifo });
    this.model.reprioritize(found, priority, lifo);
  }

  async #removeMany(operation: Named<'drain' | 'clean' | 'obliterate'>): Promise<void> {
    const { op, queue } = operation;
    const before = [...this.model.jobs.values()].filter((job) => job.state === 'children');
    // Which of several parents comes to its key first is the server's secret.
    if (op !== 'clean' && before.filter((job) => job.key !== '').length > 1) return;
    switch (op) {
      case 'drain': {
        await this.#shard.queue(queue).drain(operation.delayed);
        const states = operation.delayed ? (['delayed'] as const) : [];
        this.model.sweepAll(this.model.in(queue, 'waiting', 'blocked', ...states));
        break;
      }
      case 'clean': {
        const { state, limit } = operation;
        const wanted = this.model.cleanable(queue, state, this.#clockMs).map((job) => job.id);
        const gone = await this.#shard.queue(queue).clean(0, limit, state);
        const isRight = limit === 0 ? sameSet(gone, wanted) : gone.every((id) => wanted.includes(id));
        if (!isRight) throw new Error(`cleaned ${gone.join()} of ${wanted.join()}`);
        this.model.sweepAll(gone.map((id) => this.model.job(queue, id)));
        for (const id of gone) this.#running.delete(`${queue}:${id}`);
        break;
      }
      case 'obliterate':
        // BullMQ leaves parents that wait for children elsewhere, and gives their ids to new jobs.
        if (this.model.in(queue, 'children').length > 0) return;
        if (this.model.in(queue, 'lost').some((job) => job.parent)) return;
        await this.#obliterate(queue);
        break;
    }
    await this.#adoptOrder(before);
  }

  async #obliterate(queue: string): Promise<void> {
    const { lab } = this.#shard;
    // Hashes of jobs that are nowhere would be those of new jobs with their ids.
    const strays = [...this.#vanished].filter((name) => name.startsWith(`${queue}:`));
    const suffixes = ['', ':dependencies', ':processed', ':failed', ':unsuccessful', ':logs'];
    const hashes = strays.flatMap((name) => suffixes.map((suffix) => `${lab.prefix}:${name}${suffix}`));
    if (hashes.length > 0) await lab.redis.del(hashes);
    await this.#shard.queue(queue).obliterate({ force: true });
    this.model.obliterate(queue);
    for (const name of this.#running.keys()) if (name.startsWith(`${queue}:`)) this.#running.delete(name);
    const left = [...(await snapshot(lab.redis, this.#shard.base(queue))).keys()];
    if (left.length > 0) throw new Error(`${queue} is obliterated and left ${left.join()}`);
  }

  async #sweep(queue: string): Promise<void> {
    const backend = this.#backend(queue);
    const { unstarted, overdue } = await backend.getDueCancels();
    const superseded = this.model.in(queue, 'superseded').map((job) => job.id);
    if (!sameSet(unstarted, superseded))
      throw new Error(`superseded are ${unstarted.join()}, not ${superseded.join()}`);
    for (const id of [...unstarted, ...overdue]) {
      const found = this.model.job(queue, id);
      const isOver = found.cancelAtMs !== null && found.cancelAtMs <= serverNow() + this.#advancedMs;
      const hasWorker = found.state === 'active' && found.isLocked;
      if (overdue.includes(id) && (found.cancelAtMs === null || (!isOver && hasWorker)))
        throw new Error(`${id} is not to be cancelled`);
      const job = await this.#shard.queue(queue).getJob(id);
      const fail = overdue.includes(id)
        ? backend.failCancelled.bind(backend)
        : backend.failWaiting.bind(backend);
      if (!job || !(await fail(job, 'superseded'))) throw new Error(`${id} was not failed`);
      this.model.finish(found);
      this.#running.delete(nameOf(found));
    }
  }

  async #repair(queue: string): Promise<void> {
    const { released, adopted, keys, parked } = await this.#backend(queue).repairSlots();
    const lost = this.model.repairKeys(queue);
    if (released + adopted + parked > 0 || keys !== lost)
      throw new Error(`repaired ${released} ${adopted} ${keys} ${parked}, expected 0 0 ${lost} 0`);
  }

  // Settings.

  async #changeQueue(operation: Named<'pause' | 'resume' | 'concurrency'>): Promise<void> {
    const queue = this.#shard.queue(operation.queue);
    const flags = this.model.flagsOf(operation.queue);
    if (operation.op !== 'concurrency') {
      flags.paused = operation.op === 'pause';
      if (flags.paused) await queue.pause();
      else await queue.resume();
      return;
    }
    flags.concurrency = operation.limit;
    // A slot that comes free under a global concurrency wakes nobody in BullMQ.
    this.#unmarked.add(operation.queue);
    if (operation.limit === null) await queue.removeGlobalConcurrency();
    else await queue.setGlobalConcurrency(operation.limit);
  }

  async #changeLimits(operation: Named<'limit' | 'pause-group' | 'resume-group'>): Promise<void> {
    const { op, group } = operation;
    const backend = this.#backend('one');
    switch (op) {
      case 'limit':
        await backend.setGroupLimits(group, operation.limits);
        this.model.book.set(group, operation.limits, QUEUES);
        break;
      case 'pause-group':
        if (operation.extend) {
          await backend.extendGroupPause(group, operation.forMs ?? 0);
          this.model.book.extendPause(group, operation.forMs ?? 0);
        } else {
          await backend.pauseGroup(group, operation.forMs);
          this.model.book.pause(group, operation.forMs);
        }
        break;
      case 'resume-group':
        await backend.resumeGroup(group);
        this.model.book.resume(group);
        break;
    }
    this.model.adoptSlots(group);
  }

  // Damage.

  async #vanish({ nth, state }: Named<'vanish'>): Promise<void> {
    const found = this.model.nth(nth, state);
    if (!found || found.isParent) return;
    await this.#shard.lab.redis.del(this.#shard.base(found.queue) + found.id);
    this.model.vanish(found);
    this.#vanished.add(nameOf(found));
  }

  async #loseQueue({ queue, group }: Named<'lose-queue'>): Promise<void> {
    await this.#shard.lab.redis.del(`${this.#shard.base(queue)}fair:q::${group}`);
    for (const id of this.model.lose(queue, group)) this.#vanished.add(`${queue}:${id}`);
  }

  async #advance(ms: number): Promise<void> {
    await advance(this.#shard.lab.redis, this.#shard.lab.prefix, QUEUES, ms);
    this.#advancedMs += ms;
  }

  async #jump({ group, ms }: Named<'jump'>): Promise<void> {
    await jump(this.#shard.lab.redis, this.#shard.lab.prefix, group, QUEUES, ms);
    this.model.book.blur(group, ms);
    for (const queue of QUEUES) {
      await this.#backend(queue).repairSlots();
      this.model.repairKeys(queue);
    }
  }

  // Comparison.

  async #check(): Promise<string[]> {
    const { prefix, redis } = this.#shard.lab;
    const keys = await snapshot(redis, `${prefix}:`);
    for (const queue of QUEUES) for (const group of GROUPS) this.model.book.age(queue, group);
    this.#forgetDamage(keys);
    const problems = problemsOf(keys, this.model, {
      prefix,
      groups: GROUPS,
      keys: KEYS.filter((key) => key !== ''),
      advancedMs: this.#advancedMs,
      isUnmarked: (queue) => this.#unmarked.has(queue),
      vanished: this.#vanished,
    });
    for (const queue of QUEUES)
      problems.push(...this.#watch(queue, fairStateOf(keys, this.#shard.base(queue))));
    this.model.interrupted.clear();
    return problems;
  }

  /** Shares, and virtual time that never runs backwards. */
  #watch(queue: string, state: FairState): string[] {
    const contenders = state.ring
      .filter(({ group }) => state.groups.has(group) && this.model.verdict(queue, group).may === 'yes')
      .map(({ group, weight }) => ({ group, weight }));
    const interrupted = [...this.model.interrupted].filter((name) => name.startsWith(`${queue}\n`));
    const groups = new Set(interrupted.map((name) => name.slice(queue.length + 1)));
    this.#watches.get(queue)?.contend(contenders, groups);
    // All that waits may leave in one script in which others come: a new busy period, and nobody saw the end of the old.
    const known = this.#indexed.get(queue) ?? [];
    const indexed = Object.keys(state.idx);
    const isNewPeriod = indexed.every((group) => groups.has(group) || !known.includes(group));
    this.#indexed.set(queue, indexed);
    const before = isNewPeriod ? -Infinity : (this.#virtualTimes.get(queue) ?? -Infinity);
    const now = state.ring[0]?.tag ?? before;
    this.#virtualTimes.set(queue, now);
    return now >= before ? [] : [`${queue}: time ran from ${before} to ${now}`];
  }

  /** What was lost is forgotten when the queue looks at it, or is empty for a moment. */
  #forgetDamage(keys: Snapshot): void {
    for (const queue of QUEUES) {
      const base = this.#shard.base(queue);
      const flags = this.model.flagsOf(queue);
      const indexed = new Set(pairs(keys.get(`${base}fair:idx`)?.content ?? []).map(([group]) => group));
      for (const group of flags.ghosts) if (!indexed.has(group)) flags.ghosts.delete(group);
      if (!keys.has(`${base}fair:n`)) flags.isDrifted = false;
      const marker = pairs(keys.get(`${base}marker`)?.content ?? []);
      if (flags.concurrency === null && marker.some(([name]) => name === '0')) this.#unmarked.delete(queue);
    }
  }

  /** Where several jobs came to wait at once, only the server knows in which order. */
  async #adoptOrder(jobs: readonly SchedulerJob[]): Promise<void> {
    for (const [queue, group] of placesOf(jobs)) {
      const [base, { redis }] = [this.#shard.base(queue), this.#shard.lab];
      const moved = jobs.filter((job) => job.queue === queue && job.group === group);
      const places = new Map<string, number>();
      const queued = await redis.zrange(`${base}fair:q::${group}`, '0', '-1', 'WITHSCORES');
      for (let i = 0; i < queued.length; i += 2) places.set(queued[i] ?? '', Number(queued[i + 1]));
      // Those that wait for others of their key have their places already.
      for (const { id, state } of moved) {
        const entry = state === 'blocked' ? await redis.hget(`${base}fair:kj`, id) : null;
        if (entry !== null) places.set(id, Number.parseInt(entry, 10));
      }
      const order = [...places].sort(([, one], [, other]) => one - other).map(([id]) => id);
      this.model.adoptOrder(moved, order);
    }
  }

  /** Calls for an active job; one that its caller has lost, or whose hash is gone, must be refused. */
  async #attempt<T>(found: SchedulerJob, call: () => Promise<T>): Promise<T | typeof REFUSED> {
    if (found.isLocked && found.hash !== 'gone') return call();
    await expectRefused(call);
    return REFUSED;
  }

  /** Delayed jobs whose time has come by the callers' clock, in that order: as many as a call promotes. */
  async #due(queue: string): Promise<SchedulerJob[]> {
    const key = `${this.#shard.base(queue)}delayed`;
    const latest = (this.#clockMs + 1) * 0x1000 - 1;
    const ids = await this.#shard.lab.redis.zrangebyscore(key, 0, latest, 'LIMIT', 0, PROMOTED_AT_ONCE);
    return ids.map((id) => this.model.job(queue, id));
  }

  #run(found: SchedulerJob): { job: Job; token: string } {
    const run = this.#running.get(nameOf(found));
    if (!run) throw new Error(`${nameOf(found)} does not run`);
    return run;
  }

  #backend(queue: string): ReturnType<Shard['lab']['backend']> {
    return this.#shard.lab.backend(this.#shard.queue(queue));
  }
}

function optionsOf(
  { group, key, keyLimit, priority, cost }: Place,
  keyStrategy?: NonNullable<FairJobsOptions['group']>['keyStrategy'],
): JobsOptions {
  const keyed = key === '' ? {} : { key, keyLimit, ...(keyStrategy ? { keyStrategy } : {}) };
  const more = { ...keyed, ...(cost === 1 ? {} : { cost }) };
  const option = group === '' && Object.keys(more).length === 0 ? {} : { group: { id: group, ...more } };
  return { attempts: 50, ...(priority > 0 ? { priority } : {}), ...option };
}

/** Flows of the lab are named after their jobs otherwise. */
const anyId = (opts: JobsOptions): JobsOptions => ({ ...opts, jobId: undefined as unknown as string });

async function expectRefused(call: () => Promise<unknown>): Promise<void> {
  const answer = await call().then(
    () => 'done',
    () => null,
  );
  if (answer !== null) throw new Error('a call was answered that had to be refused');
}

const sameSet = (some: readonly string[], others: readonly string[]): boolean =>
  JSON.stringify([...some].sort()) === JSON.stringify([...others].sort());

function placesOf(jobs: readonly SchedulerJob[]): [string, string][] {
  const places = new Map(
    jobs.map((job): [string, [string, string]] => [
      JSON.stringify([job.queue, job.group]),
      [job.queue, job.group],
    ]),
  );
  return [...places.values()];
}
