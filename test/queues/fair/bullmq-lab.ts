import { FlowProducer, Queue, RedisQueueBackend, Worker } from 'bullmq';
import type {
  BackendFactory,
  ConnectionOptions,
  FlowJob,
  Job,
  JobNode,
  Processor,
  QueueOptions,
  WorkerOptions,
} from 'bullmq';
import { createFairBackend } from '../../../queues/fair/index.ts';
import type { FairQueueBackend } from '../../../queues/fair/index.ts';
import { connectWorker, isCluster } from '../../../queues/topology/connections.ts';
import type { RedisConnection } from '../../../queues/topology/connections.ts';
import { eventually } from '../../support/eventually.ts';
import { freshPrefix, keysOf, testRedisUrl } from '../../support/redis.ts';

/** The three ways in which every case of the conformance suite runs. */
export type Flavour = 'stock' | 'fair' | 'grouped';

/** A place for one test: its own prefix, and everything opened in it is closed by `close`. */
export class Lab {
  /** A hash tag, so that a lab may also be in a cluster. */
  readonly prefix = `{${freshPrefix('fair')}}`;
  readonly redis: RedisConnection;
  readonly #factory: BackendFactory<RedisQueueBackend>;
  readonly #connection: ConnectionOptions;
  readonly #opened: { close(): Promise<unknown> }[] = [];
  readonly #workers: Worker[] = [];
  #producer: FlowProducer | undefined;
  readonly queueNames = new Set<string>();

  constructor(flavour: Flavour | BackendFactory<FairQueueBackend> = 'fair', redisUrl = testRedisUrl()) {
    this.redis = connectWorker(redisUrl);
    // BullMQ takes a client for a cluster, and is to make its own for a server.
    this.#connection = isCluster(this.redis) ? this.redis : connectionOptions(redisUrl);
    if (typeof flavour === 'function') this.#factory = flavour;
    else this.#factory = factories[flavour];
  }

  queue(name = 'q', opts: Partial<QueueOptions> = {}): Queue {
    this.queueNames.add(name);
    const queue = new Queue(
      name,
      { connection: this.#connection, prefix: this.prefix, ...opts },
      this.#factory,
    );
    this.#opened.push(queue);
    return queue;
  }

  /** The fair backend behind a queue or a worker. */
  backend(of: Queue | Worker): FairQueueBackend {
    return of.getBackend() as unknown as FairQueueBackend;
  }

  worker(name: string, processor: Processor | null, opts: Partial<WorkerOptions> = {}): Worker {
    this.queueNames.add(name);
    const worker = new Worker(
      name,
      processor,
      {
        connection: this.#connection,
        prefix: this.prefix,
        skipStalledCheck: true,
        drainDelay: 1,
        ...opts,
      },
      this.#factory,
    );
    worker.on('error', () => undefined);
    this.#workers.push(worker);
    return worker;
  }

  /** A worker that processes nothing by itself: `getNextJob` is called by hand. */
  hand(name = 'q', opts: Partial<WorkerOptions> = {}): Worker {
    return this.worker(name, null, { autorun: false, ...opts });
  }

  /** Adds flows in one call; every node without an id gets its name as id. */
  async addFlows(flows: FlowJob[]): Promise<JobNode[]> {
    if (!this.#producer) {
      this.#producer = new FlowProducer({ connection: this.#connection, prefix: this.prefix }, this.#factory);
      this.#opened.push(this.#producer);
    }
    return this.#producer.addBulk(flows.map(withIds));
  }

  async addFlow(flow: FlowJob): Promise<JobNode> {
    const [node] = await this.addFlows([flow]);
    if (!node) throw new Error('no flow was added');
    return node;
  }

  /**
   * Processes with one real worker until `count` jobs have completed or failed (failed attempts count), then closes
   * it. Resolves with `<name>` or `<name>!<error>` per outcome, in order.
   */
  async work(
    count: number,
    processor: Processor = async () => undefined,
    opts: Partial<WorkerOptions> & { queue?: string } = {},
  ): Promise<string[]> {
    const { queue = 'q', ...workerOptions } = opts;
    const outcomes: string[] = [];
    const worker = this.worker(queue, processor, workerOptions);
    worker.on('completed', (job) => outcomes.push(job.name));
    worker.on('failed', (job, error) => outcomes.push(`${job?.name ?? '?'}!${error.message}`));
    await eventually(
      `${count} outcomes in ${queue}, not only ${outcomes.join()}`,
      () => outcomes.length >= count,
    );
    await worker.close();
    return outcomes;
  }

  /** Takes and completes jobs one by one through `getNextJob`, at most `limit`; resolves with their names. */
  async pickAll(queue = 'q', limit = 1000, opts: Partial<WorkerOptions> = {}): Promise<string[]> {
    const worker = this.hand(queue, opts);
    const names: string[] = [];
    while (names.length < limit) {
      const job = (await worker.getNextJob('hand', { block: false })) as Job | undefined;
      if (!job) break;
      names.push(job.name);
      await job.moveToCompleted('done', 'hand', false);
    }
    await worker.close();
    return names;
  }

  /** The events of a queue, oldest first, as `event:jobId:further fields`. */
  async events(queue = 'q'): Promise<string[]> {
    const entries = await this.redis.xrange(`${this.prefix}:${queue}:events`, '-', '+');
    return entries.map(([, fields]) => normal(fields.join(' ')));
  }

  async keys(queue = 'q'): Promise<string[]> {
    return (await keysOf(this.redis, `${escapeGlob(`${this.prefix}:${queue}`)}:*`)).sort();
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close(true)));
    await Promise.all(this.#opened.map((each) => each.close()));
    const keys = await keysOf(this.redis, `${this.prefix}:*`);
    for (let i = 0; i < keys.length; i += 5000) await this.redis.unlink(keys.slice(i, i + 5000));
    await this.redis.quit();
  }
}

const factories: Record<Flavour, BackendFactory<RedisQueueBackend>> = {
  // Without a factory BullMQ takes its own.
  stock: undefined as unknown as BackendFactory<RedisQueueBackend>,
  fair: createFairBackend(),
  grouped: groupingFactory('all:of*them\n'),
};

/** Runs `body` in a lab of its own and closes it, whatever happens. */
export async function inLab<T>(
  flavour: Flavour | BackendFactory<FairQueueBackend>,
  body: (lab: Lab) => Promise<T>,
  redisUrl = testRedisUrl(),
): Promise<T> {
  const lab = new Lab(flavour, redisUrl);
  try {
    return await body(lab);
  } finally {
    await lab.close();
  }
}

/** A fair backend that puts every job of a caller who knows nothing of groups into one group. */
function groupingFactory(group: string): BackendFactory<FairQueueBackend> {
  const create = createFairBackend();
  return (name, opts, context) => withGroup(create(name, opts, context), group);
}

function withGroup(backend: FairQueueBackend, id: string): FairQueueBackend {
  const grouped = <J extends { opts: object }>(job: J): J => ({
    ...job,
    opts: { ...job.opts, group: { id } },
  });
  const addJob = backend.addJob.bind(backend);
  backend.addJob = (job, ...rest) => addJob(grouped(job), ...rest);
  const addJobs = backend.addJobs.bind(backend);
  backend.addJobs = (entries) => addJobs(entries.map((entry) => ({ ...entry, job: grouped(entry.job) })));
  const addToTransaction = backend.addJobToTransaction.bind(backend);
  backend.addJobToTransaction = (client, job, ...rest) => addToTransaction(client, grouped(job), ...rest);
  const addScheduler = backend.addJobScheduler.bind(backend);
  backend.addJobScheduler = (
    schedulerId,
    nextMillis,
    template,
    templateOptions,
    opts,
    jobOptions,
    producerId,
  ) =>
    addScheduler(
      schedulerId,
      nextMillis,
      template,
      { ...templateOptions, group: { id } } as typeof templateOptions,
      opts,
      { ...jobOptions, group: { id } } as typeof jobOptions,
      producerId,
    );
  const forQueue = backend.forQueue.bind(backend);
  backend.forQueue = (queueName, prefix) => withGroup(forQueue(queueName, prefix), id);
  return backend;
}

function connectionOptions(redisUrl: string): {
  host: string;
  port: number;
  db: number;
  maxRetriesPerRequest: null;
} {
  const url = new URL(redisUrl);
  return {
    host: url.hostname,
    port: Number(url.port),
    db: Number(url.pathname.slice(1)),
    maxRetriesPerRequest: null,
  };
}

function withIds(flow: FlowJob): FlowJob {
  const children = flow.children?.map((child) => withIds(child));
  return { ...flow, opts: { jobId: flow.name, ...flow.opts }, ...(children ? { children } : {}) };
}

export const escapeGlob = (text: string): string => text.replace(/[\\*?[\]]/g, '\\$&');

/** Moments become T and generated ids U1, U2, … so that two runs can be compared. */
export function normal(text: string): string {
  const seen = new Map<string, string>();
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, (id) => {
      if (!seen.has(id)) seen.set(id, `U${seen.size + 1}`);
      return seen.get(id) ?? '';
    })
    .replace(/\{fair-[0-9a-f]{12}\}/g, 'P')
    .replace(/\b1[789]\d{11}\b/g, 'T')
    .replace(/"(delay|delayMs)":\d+/g, '"$1":D')
    .replace(/\bdelay \d+/g, 'delay D');
}

/** Makes every operation of a fair backend run BullMQ's own script over the virtual wait list: past the lean ones. */
export function withoutLean(backend: FairQueueBackend): FairQueueBackend {
  const stock = RedisQueueBackend.prototype;
  backend.addJob = (...args) => stock.addJob.apply(backend, args);
  backend.addJobs = (...args) => stock.addJobs.apply(backend, args);
  backend.moveToActive = (...args) => stock.moveToActive.apply(backend, args);
  backend.moveToCompleted = (...args) => stock.moveToCompleted.apply(backend, args);
  return backend;
}
