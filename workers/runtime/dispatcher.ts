/**
 * One budget of slots for all sources of the process.
 *
 *   free slot ──pick──▶ claim ──job──▶ running ──record──▶ (next job came with the record) ──▶ running …
 *       ▲                 │ empty                    │ nothing came with it
 *       └─────────────────┴──────────────────────────┘
 *
 * A source is *ready* while it may have work and *idle* after a claim came back empty; idle sources are woken by the
 * doorbell, by the time their next delayed job is due, and by a poll now and then in case a marker was lost with the
 * process that took it. Free slots go to ready sources by the arbiter; idle ones cost nothing and lend everything. One
 * whose claims fail is idle for a while, so that the others need not wait for it.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from '../../src/shared/logger.ts';
import type { WorkerMetrics } from '../health/metrics.ts';
import { Arbiter } from './arbiter.ts';
import type { Marker } from './doorbell.ts';
import type { Doorbells } from './doorbells.ts';
import type { Executor } from './executor.ts';
import { groupIdOf, unitsOf, unitsOfRun } from './source.ts';
import type { Claimed, Job, ShardSource } from './source.ts';
import { Weights } from './weights.ts';

export interface DispatcherOptions {
  sources: readonly ShardSource[];
  budget: number;
  executor: Pick<Executor, 'execute'>;
  metrics: Pick<WorkerMetrics, 'claims' | 'wakeUps'>;
  logger: Logger;
  /** How long a source goes unasked at most, in ms. */
  pollMs: number;
}

/** A slot may run this many jobs ahead of its source's share to save the round trip of a separate claim... */
const KEEP_SLOT_BOUND = 4;
/** ...unless they take longer than this: a round trip is little beside them, and others would wait for all of them. */
const QUICK_MS = 5;
/** Parallel claims of one source: doubled by a job, back to one by an empty claim. */
const MAX_WINDOW = 32;
const MAX_ERROR_PAUSE_MS = 5000;
/** setTimeout counts to 2^31 - 1; far dates are looked at again. */
const MAX_TIMER_MS = 60_000;

/** Why an idle source is looked into. */
type WokenBy = 'start' | 'ring' | 'due' | 'poll';

type Bell = Pick<Doorbells, 'changed' | 'ring'>;

interface Lane {
  readonly index: number;
  readonly source: ShardSource;
  window: number;
  /** Claims under way, and how many were ever sent. */
  claims: number;
  sent: number;
  /** Counts markers, so that an empty claim does not silence news that came while it was under way. */
  markers: number;
  /** When the source is due again (ms epoch); 0 = unknown. */
  nextAt: number;
  polledAt: number;
  /** Why it became ready, until its first claim has told whether that was in vain; null = told, or never idle. */
  wokenBy: WokenBy | null;
  /** Claims that failed in a row, and until when that keeps the source from being asked. */
  errors: number;
  blockedUntil: number;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes: Lane[];
  readonly #byMarker: ReadonlyMap<string, Lane>;
  readonly #arbiter: Arbiter;
  readonly #weights: Weights;
  readonly #tokenPrefix = randomUUID();
  #tokens = 0;
  #busy = 0;
  #claiming = false;
  #doorbell: Bell | null = null;
  #timer: NodeJS.Timeout | undefined;
  #whenIdle: (() => void)[] = [];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#lanes = options.sources.map(newLane);
    this.#byMarker = new Map(this.#lanes.map((lane) => [lane.source.markerKey, lane]));
    this.#arbiter = new Arbiter(options.sources.length);
    this.#weights = new Weights(options.sources, this.#arbiter);
  }

  /** Slots in use: jobs that run, and claims under way. Never more than the budget. */
  get busy(): number {
    return this.#busy;
  }

  start(doorbell: Bell): void {
    this.#claiming = true;
    this.#doorbell = doorbell;
    for (const lane of this.#lanes) this.#wake(lane, 'start');
    this.#pump();
  }

  /** No claim is sent after this; those under way still bring their jobs. */
  stopClaiming(): void {
    this.#claiming = false;
    clearTimeout(this.#timer);
    this.#weights.stop();
    this.#doorbell?.changed();
  }

  /** Resolves when no slot is in use. */
  idle(): Promise<void> {
    if (this.#busy === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  /**
   * The marker keys of idle sources, also without room: a busy source refills its own slots at each finish, and only
   * one that is known to be ready makes it give them up.
   */
  readonly listenTo = (): string[] => {
    if (!this.#claiming) return [];
    return this.#lanes
      .filter((lane) => !this.#arbiter.isReady(lane.index) && !isBlocked(lane))
      .map((lane) => lane.source.markerKey);
  };

  readonly onRing = (marker: Marker): boolean => {
    const lane = this.#byMarker.get(marker.key);
    if (lane === undefined) return false;
    lane.markers += 1;
    if (marker.member !== '0' && marker.score > Date.now()) {
      lane.nextAt = earlier(lane.nextAt, marker.score);
      this.#armTimer();
      return true;
    }
    return this.#lookInto([lane], 'ring').length === 0;
  };

  /**
   * Wakes sources of whose work others do not know, because we took the marker that told of it.
   * @returns those into which nobody looks now: the others must be told
   */
  #lookInto(lanes: readonly Lane[], by: WokenBy): Lane[] {
    const before = lanes.map((lane) => lane.sent);
    for (const lane of lanes) this.#wake(lane, by);
    this.#pump();
    return lanes.filter((lane, place) => lane.sent === before[place]);
  }

  #hasRoom(): boolean {
    return this.#claiming && this.#busy < this.#options.budget;
  }

  /** Sends as many claims as there are free slots and sources that may fill them. */
  #pump(): void {
    while (this.#hasRoom()) {
      const index = this.#arbiter.pick((candidate) => this.#mayClaim(candidate));
      const lane = index === null ? undefined : this.#lanes[index];
      if (lane === undefined) break;
      void this.#fillSlot(lane);
    }
    this.#armTimer();
    this.#doorbell?.changed();
  }

  #mayClaim(index: number): boolean {
    const lane = this.#lanes[index];
    return lane !== undefined && lane.claims < lane.window;
  }

  /** Takes a slot, claims, runs what comes and whatever comes after it, and gives the slot back. Never rejects. */
  async #fillSlot(lane: Lane): Promise<void> {
    this.#busy += 1;
    try {
      const token = `${this.#tokenPrefix}:${(this.#tokens += 1)}`;
      let job = await this.#claim(lane, token);
      while (job !== null) job = await this.#runOne(lane, job, token);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'a slot ended in an error');
    } finally {
      this.#busy -= 1;
      if (this.#busy === 0) this.#announceIdle();
      this.#pump();
    }
  }

  async #claim(lane: Lane, token: string): Promise<Job | null> {
    const { markers } = lane;
    lane.claims += 1;
    lane.sent += 1;
    this.#arbiter.claiming(lane.index);
    try {
      return this.#take(lane, await lane.source.claim(token), markers);
    } catch (error) {
      this.#claimFailed(lane, error);
      return null;
    } finally {
      lane.claims -= 1;
      this.#arbiter.settled(lane.index);
      // A job that came widens the window for the other free slots, which must not wait for this one's end.
      queueMicrotask(() => this.#pump());
    }
  }

  async #runOne(lane: Lane, job: Job, token: string): Promise<Job | null> {
    const startedAt = performance.now();
    let { markers } = lane;
    let fetching = false;
    // Asked again for each try to record the job.
    const mayFetch = (): boolean => {
      markers = lane.markers;
      if (fetching) this.#arbiter.settled(lane.index);
      fetching = this.#mayKeepSlot(lane, performance.now() - startedAt);
      if (fetching) this.#arbiter.claiming(lane.index);
      return fetching;
    };
    try {
      const next = await this.#options.executor.execute(lane.source, job, token, {
        mayFetch,
        recorded: () => this.#charge(lane, job, performance.now() - startedAt),
      });
      return next === null ? null : this.#take(lane, next, markers);
    } finally {
      if (fetching) this.#arbiter.settled(lane.index);
    }
  }

  #charge(lane: Lane, job: Job, ranMs: number): void {
    if (job.charge === undefined) return;
    this.#arbiter.charged(lane.index, unitsOfRun(job, ranMs), groupIdOf(job), job.charge.weight);
  }

  #mayKeepSlot(lane: Lane, tookMs: number): boolean {
    return this.#claiming && this.#arbiter.mayKeepSlot(lane.index, tookMs < QUICK_MS ? KEEP_SLOT_BOUND : 0);
  }

  /** Books what a claim brought. */
  #take(lane: Lane, claimed: Claimed, markersBefore: number): Job | null {
    lane.polledAt = Date.now();
    lane.errors = 0;
    lane.blockedUntil = 0;
    this.#count(lane, claimed.job === null ? 'empty' : 'job');
    if (claimed.job !== null) {
      lane.window = Math.min(lane.window * 2, MAX_WINDOW);
      this.#wake(lane, null);
      this.#arbiter.granted(lane.index, unitsOf(claimed.job), groupIdOf(claimed.job));
      return claimed.job;
    }
    lane.window = 1;
    if (lane.markers === markersBefore) {
      lane.nextAt = claimed.nextAt;
      this.#arbiter.setReady(lane.index, false);
    }
    return null;
  }

  #count(lane: Lane, result: 'job' | 'empty' | 'error'): void {
    const { claims, wakeUps } = this.#options.metrics;
    claims.inc({ result });
    if (lane.wokenBy !== null) wakeUps.inc({ by: lane.wokenBy, result });
    lane.wokenBy = null;
  }

  #claimFailed(lane: Lane, error: unknown): void {
    lane.errors += 1;
    lane.window = 1;
    lane.blockedUntil = Date.now() + Math.min(50 * 2 ** lane.errors, MAX_ERROR_PAUSE_MS);
    lane.nextAt = lane.blockedUntil;
    // Else virtual time, and whoever waits for the lowest pass, would stand still with it.
    this.#arbiter.setReady(lane.index, false);
    this.#count(lane, 'error');
    const { name: queue, shard } = lane.source;
    if (this.#claiming) this.#options.logger.warn({ err: error, queue, shard }, 'a claim failed');
  }

  #wake(lane: Lane, by: WokenBy | null): void {
    if (isBlocked(lane)) return;
    lane.nextAt = 0;
    if (this.#arbiter.isReady(lane.index)) return;
    lane.wokenBy = by;
    this.#arbiter.setReady(lane.index, true);
    this.#weights.woke(lane.index);
  }

  #armTimer(): void {
    clearTimeout(this.#timer);
    if (!this.#claiming) return;
    const dueAt = Math.min(...this.#lanes.map((lane) => this.#dueAt(lane)));
    const ms = Math.min(Math.max(dueAt - Date.now(), 0), MAX_TIMER_MS);
    this.#timer = setTimeout(() => this.#wakeDue(), ms);
  }

  /** When the source wants a look without being rung for. */
  #dueAt(lane: Lane): number {
    if (this.#arbiter.isReady(lane.index)) return Infinity;
    return Math.max(earlier(lane.nextAt, lane.polledAt + this.#options.pollMs), lane.blockedUntil);
  }

  #wakeDue(): void {
    const now = Date.now();
    const due = this.#lanes.filter((lane) => !this.#arbiter.isReady(lane.index) && this.#dueAt(lane) <= now);
    const known = due.filter((lane) => lane.nextAt > 0 && lane.nextAt <= now);
    for (const lane of due) if (!known.includes(lane)) this.#wake(lane, 'poll');
    for (const lane of this.#lookInto(known, 'due')) this.#doorbell?.ring(lane.source.markerKey);
  }

  #announceIdle(): void {
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

function newLane(source: ShardSource, index: number): Lane {
  return {
    index,
    source,
    window: 1,
    claims: 0,
    sent: 0,
    markers: 0,
    nextAt: 0,
    polledAt: 0,
    wokenBy: null,
    errors: 0,
    blockedUntil: 0,
  };
}

/** Whether its claims failed just now. */
function isBlocked(lane: Lane): boolean {
  return lane.blockedUntil > Date.now();
}

/** The earlier of two times, of which 0 is none. */
function earlier(one: number, other: number): number {
  if (one === 0) return other;
  return other === 0 ? one : Math.min(one, other);
}
