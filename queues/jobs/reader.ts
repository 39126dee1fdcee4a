import type { JobJson } from 'bullmq';
import { WaggleError } from '../../src/shared/errors.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEnvelope } from './envelope.ts';
import { contractState, isFinished } from './view.ts';
import type { StoredJob } from './view.ts';

/** BullMQ packs a due time into the score of its delayed set: ms times this. */
const DELAYED_SCORE_UNIT = 0x1000;
/** Reading again settles a job that moved between the two reads; one that moves each time is busy, not broken. */
const READ_TRIES = 3;

/** A stored job before its state is known. */
export interface JobRecord {
  id: string;
  queue: string;
  json: JobJson;
  envelope: JobEnvelope;
}

/** Reads jobs of one tenant. What belongs to another tenant reads as if it did not exist. */
export class JobReader {
  readonly #topology: Topology;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  /** @throws WaggleError not_found */
  async get(tenant: string, id: string): Promise<StoredJob> {
    const stored = await this.find(tenant, id);
    if (stored === null) throw new WaggleError('not_found', 'There is no such job.');
    return stored;
  }

  /** Null when there is none. */
  async find(tenant: string, id: string): Promise<StoredJob | null> {
    const queue = queueOfJobId(id);
    if (queue === null) return null;
    const backend = await this.#backendOf(tenant, queue, id);
    if (backend === null) return null;
    for (let left = READ_TRIES; ; left -= 1) {
      // The state first: a job that finishes in between then shows as unfinished with a finish, never the reverse.
      const [state, json] = await Promise.all([backend.getState(id), backend.getJobData(id)]);
      const record = toRecord(tenant, id, queue, json);
      if (record === null) return null;
      const settled =
        state !== 'unknown' && (json?.finishedOn === undefined || isFinished(contractState(state, '')));
      if (settled || left <= 1) return this.#withState(record, state);
    }
  }

  /** The record alone; null when there is none. Cheaper than {@link find}, for filtering. */
  async record(tenant: string, id: string): Promise<JobRecord | null> {
    const queue = queueOfJobId(id);
    if (queue === null) return null;
    const backend = await this.#backendOf(tenant, queue, id);
    return backend && toRecord(tenant, id, queue, await backend.getJobData(id));
  }

  /** Null when there is no such job in a queue that is not open: a name that somebody made up opens none. */
  async #backendOf(tenant: string, queue: string, id: string): Promise<FairQueueBackend | null> {
    const topology = this.#topology;
    const shard = topology.shardOf(tenant);
    topology.assertConnected();
    if (!topology.isOpen(shard, queue)) {
      const jobs = await topology.redis.exists(`${topology.prefix(shard)}:${queue}:${id}`);
      if (jobs === 0) return null;
    }
    return topology.queue(shard, queue).getBackend();
  }

  async #withState(record: JobRecord, bullState: string): Promise<StoredJob> {
    const { id, json, envelope } = record;
    const state = contractState(bullState, json.failedReason);
    return { id, json, envelope, state, dueAt: state === 'delayed' ? await this.#dueAt(record) : null };
  }

  async #dueAt({ id, queue, envelope }: JobRecord): Promise<number | null> {
    const shard = this.#topology.shardOf(envelope.tenant);
    const score = await this.#topology.redis.zscore(`${this.#topology.prefix(shard)}:${queue}:delayed`, id);
    return score === null ? null : Math.floor(Number(score) / DELAYED_SCORE_UNIT);
  }
}

function toRecord(tenant: string, id: string, queue: string, json: JobJson | undefined): JobRecord | null {
  if (json === undefined) return null;
  const envelope = JSON.parse(json.data) as Partial<JobEnvelope> | null;
  if (envelope?.tenant !== tenant) return null;
  return { id, queue, json, envelope: envelope as JobEnvelope };
}
