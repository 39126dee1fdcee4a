import { queueOfJobId } from '../../src/shared/ids.ts';
import type { JobStreamEvent } from '../../src/shared/stream-schemas.ts';
import { queueEvents } from '../jobs/job-events.ts';
import type { JobReader } from '../jobs/reader.ts';
import { contractState, isFinished, jobView } from '../jobs/view.ts';
import type { StoredJob } from '../jobs/view.ts';
import type { Topology } from '../topology/topology.ts';
import { missedStates, presentState } from './missed.ts';
import type { DueState } from './missed.ts';
import { formatPosition } from './position.ts';
import type { Position, Told } from './position.ts';
import type { Watch, Watches } from './watches.ts';
import type { EntryKind } from './writer.ts';

/** Entries read at once: at their largest half a mebibyte. */
const PAGE = 32;
/** How often a job that starts while it is looked at is looked at again. One that always does is busy, not broken. */
const LOOKS = 3;

interface Entry {
  id: string;
  kind: EntryKind;
  value: unknown;
}

export interface FollowerParts {
  topology: Topology;
  reader: JobReader;
  watches: Watches;
}

/** One reader of one job's stream. Everything it has told lies behind its position, so any other process can go on. */
export class Follower {
  readonly #parts: FollowerParts;
  readonly #tenant: string;
  readonly #id: string;
  readonly #shard: number;
  readonly #queue: string;
  #position: Position;
  /** What happened before this reader came and has not been told yet, in order. */
  #missed: DueState[] = [];
  /** How often the job has started, as far as is known. */
  #starts = 0;

  constructor(parts: FollowerParts, tenant: string, id: string, after: Position) {
    this.#parts = parts;
    this.#tenant = tenant;
    this.#id = id;
    this.#shard = parts.topology.shardOf(tenant);
    this.#queue = queueOfJobId(id) ?? '';
    this.#position = after;
  }

  /**
   * The present state (unless the job has ended: then that comes last), what was written after the position, and then what
   * happens, until the job has ended or `signal` aborts. A position that says which state was told last is gone on from:
   * what happened since comes in order, as far as the job's record says it. Other states are told as they are heard of.
   */
  async *events(signal: AbortSignal): AsyncGenerator<JobStreamEvent> {
    const { watches } = this.#parts;
    const job = { id: this.#id, tenant: this.#tenant, shard: this.#shard, queue: this.#queue };
    const watch = await watches.open(job, signal, () => this.#hasEnded());
    try {
      yield* this.#begin(watch);
      while (!signal.aborted) {
        // Asked before the entries are read: whatever was written before the end is found by the read after it.
        const { ended } = watch;
        yield* this.#written(watch);
        if (ended) {
          if (yield* this.#end()) return;
          watch.awaitEnd();
        }
        await watch.news();
      }
    } finally {
      watch.close();
    }
  }

  async *#begin(watch: Watch): AsyncGenerator<JobStreamEvent> {
    const { stored, lastEvent } = await this.#look();
    // What was read has come of the events up to there; told again they would be out of order.
    watch.statesAfter(lastEvent);
    if (stored === null) return;
    this.#starts = stored.json.attemptsStarted;
    const { told } = this.#position;
    const present = presentState(stored, Date.now());
    if (told !== null) this.#missed = missedStates(told, stored.json, present);
    else if (!isFinished(stored.state)) yield this.#state(present);
  }

  async *#end(): AsyncGenerator<JobStreamEvent, boolean> {
    const stored = await this.#read();
    if (stored === null) {
      const at = Date.now();
      const error = { code: 'removed', message: 'The job was removed', retryable: false };
      this.#toTelling('end', at);
      yield this.#event('error', { error, at: iso(at) });
      return true;
    }
    // A job may be retried after its end.
    if (!isFinished(stored.state)) return false;
    const { state } = stored;
    const { finishedOn = 0, attemptsStarted } = stored.json;
    this.#starts = attemptsStarted;
    const at = iso(finishedOn);
    const { told } = this.#position;
    if (told?.what !== state || told.endedAt !== finishedOn)
      yield this.#state({ state, at: finishedOn }, finishedOn);
    this.#toTelling('end', finishedOn);
    const { result, error } = jobView(stored);
    if (error === null) yield this.#event('result', { result, at });
    else yield this.#event('error', { error, at });
    return true;
  }

  /** What handlers wrote since the last time, among it the states of the same time. */
  async *#written(watch: Watch): AsyncGenerator<JobStreamEvent> {
    for (let entries = await this.#page(); ; entries = await this.#page()) {
      for (const entry of entries) {
        const at = Number.parseInt(entry.id, 10);
        yield* this.#states(watch, at);
        this.#position = { ...this.#position, entry: entry.id, since: 0 };
        yield this.#wrote(entry, iso(at));
      }
      if (entries.length < PAGE) break;
    }
    yield* this.#states(watch, Infinity);
  }

  *#states(watch: Watch, until: number): Generator<JobStreamEvent> {
    for (let [due] = this.#missed; due !== undefined; [due] = this.#missed) {
      if (due.at > until) return;
      this.#missed.shift();
      // Not compared with what was told before: it may have started twice.
      yield this.#state(due);
    }
    for (const { event, at } of watch.takeStates(until)) {
      const state = contractState(event, undefined);
      if (state === 'active') this.#starts += 1;
      // The end is told last, with what came of it.
      if (!isFinished(state)) yield* this.#toState({ state, at });
    }
  }

  *#toState(due: DueState): Generator<JobStreamEvent> {
    if (due.state !== this.#position.told?.what) yield this.#state(due);
  }

  #state({ state, at }: DueState, endedAt: number | null = null): JobStreamEvent {
    this.#toTelling(state, endedAt);
    return this.#event('state', { state, at: iso(at) });
  }

  #wrote({ kind, value }: Entry, at: string): JobStreamEvent {
    switch (kind) {
      case 'progress':
        return this.#event('progress', { progress: value, at });
      case 'log':
        return this.#event('log', { line: value as string, at });
      case 'chunk':
        return this.#event('chunk', { chunk: value, at });
    }
  }

  /** The next event is no entry, and says this. */
  #toTelling(what: Told['what'], endedAt: number | null): void {
    const { entry, since } = this.#position;
    this.#position = { entry, since: since + 1, told: { what, starts: this.#starts, endedAt } };
  }

  #event<E extends JobStreamEvent['event']>(
    event: E,
    told: Extract<JobStreamEvent, { event: E }>['data'],
  ): JobStreamEvent {
    return { id: formatPosition(this.#position), event, data: told } as JobStreamEvent;
  }

  async #page(): Promise<Entry[]> {
    const { redis, keys } = this.#parts.topology;
    const stream = keys.jobStream(this.#shard, this.#tenant, this.#id);
    const found = await redis.xrange(stream, `(${this.#position.entry}`, '+', 'COUNT', PAGE);
    return found.map(([id, [, kind, , json]]) => ({
      id,
      kind: kind as EntryKind,
      value: JSON.parse(json ?? 'null') as unknown,
    }));
  }

  /**
   * The job, and the last event of its queue from before it was read. When it had started as often before as after, its state
   * is one since the last start that its record counts.
   */
  async #look(): Promise<{ stored: StoredJob | null; lastEvent: string }> {
    const { topology } = this.#parts;
    const key = `${topology.prefix(this.#shard)}:${this.#queue}:${this.#id}`;
    const events = queueEvents(topology, this.#shard, this.#queue);
    for (let left = LOOKS; ; left -= 1) {
      const [starts, [last]] = await Promise.all([
        topology.redis.hget(key, 'ats'),
        topology.redis.xrevrange(events, '+', '-', 'COUNT', 1),
      ]);
      const stored = await this.#read();
      const settled = stored === null || stored.json.attemptsStarted === Number(starts ?? 0);
      if (settled || left <= 1) return { stored, lastEvent: last?.[0] ?? '0-0' };
    }
  }

  #read(): Promise<StoredJob | null> {
    return this.#parts.reader.find(this.#tenant, this.#id);
  }

  async #hasEnded(): Promise<boolean> {
    const stored = await this.#read();
    return stored === null || isFinished(stored.state);
  }
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
