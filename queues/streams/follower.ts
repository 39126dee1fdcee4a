import { queueOfJobId } from '../../src/shared/ids.ts';
import type { JobState } from '../../src/shared/schemas.ts';
import type { JobStreamEvent } from '../../src/shared/stream-schemas.ts';
import type { JobReader } from '../jobs/reader.ts';
import { contractState, isFinished, jobView } from '../jobs/view.ts';
import type { StoredJob } from '../jobs/view.ts';
import type { Topology } from '../topology/topology.ts';
import type { EntryKind } from './writer.ts';
import { formatPosition } from './position.ts';
import type { Position } from './position.ts';
import type { Watch, Watches } from './watches.ts';

/** Entries read at once: at their largest half a mebibyte. */
const PAGE = 32;

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
  #position: Position;
  #state: JobState | undefined;

  constructor(parts: FollowerParts, tenant: string, id: string, after: Position) {
    this.#parts = parts;
    this.#tenant = tenant;
    this.#id = id;
    this.#shard = parts.topology.shardOf(tenant);
    this.#position = { entry: after.entry, endedAt: null };
  }

  /**
   * The present state (unless the job has ended: then that comes last), what was written after the position, and then what
   * happens, until the job has ended or `signal` aborts. States are told as they are heard of; those before the call are not kept.
   */
  async *events(signal: AbortSignal): AsyncGenerator<JobStreamEvent> {
    const { watches } = this.#parts;
    const job = {
      id: this.#id,
      tenant: this.#tenant,
      shard: this.#shard,
      queue: queueOfJobId(this.#id) ?? '',
    };
    const watch = await watches.open(job, signal, () => this.#hasEnded());
    try {
      const stored = await this.#read();
      // Of one that has ended that comes last.
      if (stored !== null && !isFinished(stored.state)) yield* this.#toState(stored.state, Date.now());
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

  async *#end(): AsyncGenerator<JobStreamEvent, boolean> {
    const stored = await this.#read();
    if (stored === null) {
      const error = { code: 'removed', message: 'The job was removed', retryable: false };
      yield this.#event('error', { error, at: iso(Date.now()) });
      return true;
    }
    // A job may be retried after its end.
    if (!isFinished(stored.state)) return false;
    const { finishedOn = 0 } = stored.json;
    yield* this.#toState(stored.state, finishedOn);
    this.#position = { ...this.#position, endedAt: finishedOn };
    const { result, error } = jobView(stored);
    if (error === null) yield this.#event('result', { result, at: iso(finishedOn) });
    else yield this.#event('error', { error, at: iso(finishedOn) });
    return true;
  }

  /** What handlers wrote since the last time, among it the states of the same time. */
  async *#written(watch: Watch): AsyncGenerator<JobStreamEvent> {
    for (let entries = await this.#page(); ; entries = await this.#page()) {
      for (const entry of entries) {
        const at = Number.parseInt(entry.id, 10);
        yield* this.#states(watch, at);
        this.#position = { ...this.#position, entry: entry.id };
        yield this.#wrote(entry, iso(at));
      }
      if (entries.length < PAGE) break;
    }
    yield* this.#states(watch, Infinity);
  }

  *#states(watch: Watch, until: number): Generator<JobStreamEvent> {
    for (const { event, at } of watch.takeStates(until)) {
      const state = contractState(event, undefined);
      // The end is told last, with what came of it.
      if (!isFinished(state)) yield* this.#toState(state, at);
    }
  }

  *#toState(state: JobState, at: number): Generator<JobStreamEvent> {
    if (state === this.#state) return;
    this.#state = state;
    yield this.#event('state', { state, at: iso(at) });
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
