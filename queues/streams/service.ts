import { queueOfJobId } from '../../src/shared/ids.ts';
import type { JobStreamEvent, LogPage, LogQuery } from '../../src/shared/stream-schemas.ts';
import { withRedis } from '../topology/redis-errors.ts';
import { Follower } from './follower.ts';
import type { FollowerParts } from './follower.ts';
import type { JobLogs } from './log.ts';
import { parsePosition, START } from './position.ts';

export interface StreamServiceParts extends FollowerParts {
  logs: JobLogs;
}

/** What can be heard of jobs while they run, and read of it later. Bound to one tenant like all that is done with jobs. */
export class JobStreams {
  readonly #parts: StreamServiceParts;

  constructor(parts: StreamServiceParts) {
    this.#parts = parts;
  }

  /**
   * The events of a job after `lastEventId`; see {@link Follower.events}. Null when the reader has been told of the end.
   * @throws WaggleError not_found, validation, redis_unavailable; the events throw redis_unavailable and shutting_down
   */
  async follow(
    tenant: string,
    id: string,
    { lastEventId, signal }: { lastEventId: string | undefined; signal: AbortSignal },
  ): Promise<AsyncIterable<JobStreamEvent> | null> {
    const after = lastEventId === undefined ? START : parsePosition(lastEventId);
    const { json } = await withRedis(() => this.#parts.reader.get(tenant, id));
    if (after.told?.what === 'end' && after.told.endedAt === json.finishedOn) return null;
    return new Follower(this.#parts, tenant, id, after).events(signal);
  }

  /** Lines handlers of a job wrote, oldest first. @throws WaggleError not_found, validation */
  async logs(tenant: string, id: string, query: LogQuery): Promise<LogPage> {
    const { reader, topology, logs } = this.#parts;
    return withRedis(async () => {
      await reader.get(tenant, id);
      const owner = { shard: topology.shardOf(tenant), queue: queueOfJobId(id) ?? '', id };
      return logs.page(owner, query);
    });
  }
}
