import type { JobEvent } from '../jobs/event-reader.ts';
import { queueEvents } from '../jobs/job-events.ts';
import type { JobEvents } from '../jobs/job-events.ts';
import type { Waiters, WaitOutcome } from '../jobs/waiters.ts';
import type { Topology } from '../topology/topology.ts';

/** How often a follower says that it is still there, and looks without being told. */
const LOOK_MS = 15_000;
/** How long it is believed; a process that died leaves nothing behind for longer. */
const BELIEVED_MS = 3 * LOOK_MS;
/** The longest a timer can wait: 24 days. */
const FOR_EVER_MS = 2 ** 31 - 1;

const STATES: ReadonlySet<string> = new Set(['waiting', 'active', 'delayed', 'waiting-children']);

export interface WatchedJob {
  id: string;
  tenant: string;
  shard: number;
  queue: string;
}

/** What one follower of a job has been told of and has not looked at yet. */
export interface Watch {
  /** Whether the job has ended, as far as is known; to be verified by reading it. */
  readonly ended: boolean;
  /** Forgets that it has ended: it goes on. */
  awaitEnd(): void;
  /** Resolves when there is something to look at, or the signal has aborted. @throws WaggleError shutting_down */
  news(): Promise<void>;
  /** Forgets the states of events up to this one of the queue, also those that are yet to be heard. */
  statesAfter(eventId: string): void;
  /** States the job went to by `until` (ms epoch), in order; they are told once. */
  takeStates(until: number): JobEvent[];
  close(): void;
}

export interface WatchesOptions {
  topology: Topology;
  events: JobEvents;
  waiters: Waiters;
}

/** Who follows which job. A follower costs a few map entries and a timer; all share the process's reader of events. */
export class Watches {
  readonly #options: WatchesOptions;
  readonly #byJob = new Map<string, Set<OpenWatch>>();

  constructor(options: WatchesOptions) {
    this.#options = options;
    options.events.listen({
      onEvent: (event) => {
        for (const watch of this.#byJob.get(event.jobId) ?? []) watch.heard(event);
      },
      onGap: () => {
        for (const watches of this.#byJob.values()) for (const watch of watches) watch.wake();
      },
    });
  }

  /** When it resolves, nothing that happens to the job from then on goes unheard. */
  async open(job: WatchedJob, signal: AbortSignal, hasEnded: () => Promise<boolean>): Promise<Watch> {
    const { topology, events, waiters } = this.#options;
    const streams = [queueEvents(topology, job.shard, job.queue), topology.keys.written(job.shard)];
    const unfollow = await events.follow(job.shard, streams);
    const closing = new AbortController();
    const watch = new OpenWatch({
      announce: () => this.#announce(job),
      untilEnd: () => waiters.wait(job, FOR_EVER_MS, closing.signal, hasEnded),
      onClose: () => {
        closing.abort();
        unfollow();
        this.#remove(job.id, watch);
      },
    });
    this.#add(job.id, watch);
    signal.addEventListener('abort', watch.wake, { signal: closing.signal });
    watch.awaitEnd();
    await this.#announce(job).catch((error: unknown) => {
      watch.close();
      throw error;
    });
    return watch;
  }

  async #announce(job: WatchedJob): Promise<void> {
    const { redis, keys } = this.#options.topology;
    await redis.set(keys.jobFollowed(job.shard, job.tenant, job.id), 1, 'PX', BELIEVED_MS);
  }

  #add(id: string, watch: OpenWatch): void {
    const watches = this.#byJob.get(id);
    if (watches) watches.add(watch);
    else this.#byJob.set(id, new Set([watch]));
  }

  #remove(id: string, watch: OpenWatch): void {
    const watches = this.#byJob.get(id);
    watches?.delete(watch);
    if (watches?.size === 0) this.#byJob.delete(id);
  }
}

interface WatchActs {
  /** Says that the job is followed. */
  announce: () => Promise<void>;
  untilEnd: () => Promise<WaitOutcome>;
  onClose: () => void;
}

class OpenWatch implements Watch {
  readonly #acts: WatchActs;
  readonly #timer: NodeJS.Timeout;
  #states: JobEvent[] = [];
  #statesAfter = '0-0';
  #ended = false;
  #failure: { error: unknown } | undefined;
  #hasNews = false;
  #tell: () => void = () => undefined;

  constructor(acts: WatchActs) {
    this.#acts = acts;
    this.#timer = setInterval(() => {
      acts.announce().catch(() => undefined);
      this.wake();
    }, LOOK_MS).unref();
  }

  get ended(): boolean {
    return this.#ended;
  }

  async news(): Promise<void> {
    if (!this.#hasNews) await new Promise<void>((resolve) => (this.#tell = resolve));
    this.#hasNews = false;
    if (this.#failure) throw this.#failure.error;
  }

  statesAfter(eventId: string): void {
    this.#statesAfter = eventId;
    this.#states = this.#states.filter(({ id }) => isAfter(id, eventId));
  }

  takeStates(until: number): JobEvent[] {
    const later = this.#states.findIndex(({ at }) => at > until);
    return this.#states.splice(0, later < 0 ? this.#states.length : later);
  }

  heard(event: JobEvent): void {
    if (STATES.has(event.event)) {
      if (!isAfter(event.id, this.#statesAfter)) return;
      this.#states.push(event);
    } else if (event.event !== 'written') return;
    this.wake();
  }

  readonly wake = (): void => {
    this.#hasNews = true;
    this.#tell();
  };

  awaitEnd(): void {
    this.#ended = false;
    this.#acts.untilEnd().then(
      (outcome) => outcome === 'ended' && this.#end(),
      (error: unknown) => this.#fail(error),
    );
  }

  close(): void {
    clearInterval(this.#timer);
    this.#acts.onClose();
  }

  #end(): void {
    this.#ended = true;
    this.wake();
  }

  #fail(error: unknown): void {
    this.#failure = { error };
    this.wake();
  }
}

/** Of two ids of a Redis stream. */
function isAfter(id: string, other: string): boolean {
  const [ms = 0, seq = 0] = id.split('-').map(Number);
  const [otherMs = 0, otherSeq = 0] = other.split('-').map(Number);
  return ms > otherMs || (ms === otherMs && seq > otherSeq);
}
