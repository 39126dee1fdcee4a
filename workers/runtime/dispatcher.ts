/**
 * One budget of slots for all sources of the process.
 *
 *   free slot ──pick──▶ claim ──job──▶ running ──record──▶ (next job came with the record) ──▶ running …
 *       ▲                 │ empty                    │ nothing came with it
 *       └─────────────────┴──────────────────────────┘
 *
 * A source is *ready* while it may have work and *idle* after a claim came back empty; idle sources are woken by the
 * doorbell, by the time their next delayed job is due, and by a poll now and then in case a marker was lost with the
 * process that took it. Free slots go to ready sources by the arbiter; idle ones cost nothing and lend everything.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from '../../src/shared/logger.ts';
import type { WorkerMetrics } from '../health/metrics.ts';
import { Arbiter } from './arbiter.ts';
import type { Doorbell, Marker } from './doorbell.ts';
import type { Executor } from './executor.ts';
import type { Claimed, Job, ShardSource } from './source.ts';

export interface DispatcherOptions {
  sources: readonly ShardSource[];
  budget: number;
  executor: Pick<Executor, 'execute'>;
  metrics: Pick<WorkerMetrics, 'claims'>;
  logger: Logger;
  /** How long a source goes unasked at most, in ms. */
  pollMs: number;
}

/** A slot may run this many jobs ahead of its source's share to save the round trip of a separate claim. */
const KEEP_SLOT_BOUND = 4;
/** Parallel claims of one source: doubled by a job, back to one by an empty claim. */
const MAX_WINDOW = 32;
const MAX_ERROR_PAUSE_MS = 5000;
const WEIGHT_MS = 250;
/** setTimeout counts to 2^31 - 1; far dates are looked at again. */
const MAX_TIMER_MS = 60_000;

type Bell = Pick<Doorbell, 'changed' | 'ring'>;

interface Lane {
  readonly index: number;
  readonly source: ShardSource;
  window: number;
  /** Counts markers, so that an empty claim does not silence news that came while it was under way. */
  markers: number;
  /** When the source is due again (ms epoch); 0 = unknown. */
  nextAt: number;
  polledAt: number;
  /** Claims that failed in a row, and until when that keeps the source from being asked. */
  errors: number;
  blockedUntil: number;
  /** Its weight is being asked for; while Redis is away one question is enough. */
  weighing: boolean;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes: Lane[];
  readonly #byMarker: ReadonlyMap<string, Lane>;
  readonly #arbiter: Arbiter;
  readonly #tokenPrefix = randomUUID();
  #tokens = 0;
  #busy = 0;
  #claiming = false;
  #doorbell: Bell | null = null;
  #timer: NodeJS.Timeout | undefined;
  #weightTimer: NodeJS.Timeout | undefined;
  #whenIdle: (() => void)[] = [];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#lanes = options.sources.map(newLane);
    this.#byMarker = new Map(this.#lanes.map((lane) => [lane.source.markerKey, lane]));
    this.#arbiter = new Arbiter(options.sources.map((source) => () => source.weight));
  }

  /** Slots in use: jobs that run, and claims under way. Never more than the budget. */
  get busy(): number {
    return this.#busy;
  }

  /** @param doorbell null where nothing can listen for markers: then sources are found by polling alone */
  start(doorbell: Bell | null): void {
    this.#claiming = true;
    this.#doorbell = doorbell;
    for (const lane of this.#lanes) this.#wake(lane);
    this.#weightTimer = setInterval(() => this.#refreshWeights(), WEIGHT_MS);
    this.#pump();
  }

  /** No claim is sent after this; those under way still bring their jobs. */
  stopClaiming(): void {
    this.#claiming = false;
    clearTimeout(this.#timer);
    clearInterval(this.#weightTimer);
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
      .filter((lane) => !this.#arbiter.isReady(lane.index))
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
    this.#wake(lane);
    const room = this.#hasRoom();
    this.#pump();
    return room;
  };

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
    return (
      lane !== undefined && this.#arbiter.claimsOf(index) < lane.window && lane.blockedUntil <= Date.now()
    );
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
    this.#arbiter.claiming(lane.index);
    try {
      return this.#take(lane, await lane.source.claim(token), markers);
    } catch (error) {
      this.#claimFailed(lane, error);
      return null;
    } finally {
      this.#arbiter.settled(lane.index);
      // A job that came widens the window for the other free slots, which must not wait for this one's end.
      queueMicrotask(() => this.#pump());
    }
  }

  async #runOne(lane: Lane, job: Job, token: string): Promise<Job | null> {
    let { markers } = lane;
    const next = await this.#options.executor.execute(lane.source, job, token, () => {
      markers = lane.markers;
      return this.#claiming && this.#arbiter.mayKeepSlot(lane.index, KEEP_SLOT_BOUND);
    });
    return next === null ? null : this.#take(lane, next, markers);
  }

  /** Books what a claim brought. */
  #take(lane: Lane, claimed: Claimed, markersBefore: number): Job | null {
    lane.polledAt = Date.now();
    lane.errors = 0;
    this.#options.metrics.claims.inc({ result: claimed.job === null ? 'empty' : 'job' });
    if (claimed.job !== null) {
      lane.window = Math.min(lane.window * 2, MAX_WINDOW);
      this.#arbiter.granted(lane.index);
      return claimed.job;
    }
    lane.window = 1;
    if (lane.markers === markersBefore) {
      lane.nextAt = claimed.nextAt;
      this.#arbiter.setReady(lane.index, false);
    }
    return null;
  }

  #claimFailed(lane: Lane, error: unknown): void {
    lane.errors += 1;
    lane.window = 1;
    lane.blockedUntil = Date.now() + Math.min(50 * 2 ** lane.errors, MAX_ERROR_PAUSE_MS);
    this.#options.metrics.claims.inc({ result: 'error' });
    const { name: queue, shard } = lane.source;
    if (this.#claiming) this.#options.logger.warn({ err: error, queue, shard }, 'a claim failed');
  }

  #wake(lane: Lane): void {
    lane.nextAt = 0;
    if (this.#arbiter.isReady(lane.index)) return;
    this.#arbiter.setReady(lane.index, true);
    // Its weight is from when it last had work.
    this.#refreshWeights();
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
    if (this.#arbiter.isReady(lane.index))
      return lane.blockedUntil > Date.now() ? lane.blockedUntil : Infinity;
    return earlier(lane.nextAt, lane.polledAt + this.#options.pollMs);
  }

  #wakeDue(): void {
    const now = Date.now();
    for (const lane of this.#lanes) {
      if (this.#arbiter.isReady(lane.index) || this.#dueAt(lane) > now) continue;
      // We may have taken the marker that told of this time, so others may not know of it.
      const knownDue = lane.nextAt > 0 && lane.nextAt <= now;
      if (knownDue && !this.#hasRoom()) this.#doorbell?.ring(lane.source.markerKey);
      this.#wake(lane);
    }
    this.#pump();
  }

  /** Weights only matter between sources that compete. */
  #refreshWeights(): void {
    const ready = this.#lanes.filter((lane) => this.#arbiter.isReady(lane.index));
    if (ready.length < 2) return;
    for (const lane of ready) void this.#refreshWeight(lane);
  }

  async #refreshWeight(lane: Lane): Promise<void> {
    if (lane.weighing) return;
    lane.weighing = true;
    await lane.source.refreshWeight().catch(() => undefined);
    lane.weighing = false;
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
    markers: 0,
    nextAt: 0,
    polledAt: 0,
    errors: 0,
    blockedUntil: 0,
    weighing: false,
  };
}

/** The earlier of two times, of which 0 is none. */
function earlier(one: number, other: number): number {
  if (one === 0) return other;
  return other === 0 ? one : Math.min(one, other);
}
