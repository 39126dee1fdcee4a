import type { JobJson } from 'bullmq';
import type { JobListQuery, JobPage } from '../../src/shared/schemas.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import { invalid } from '../../src/shared/validate.ts';
import type { JobReader, JobRecord } from './reader.ts';
import type { ListFilter, Source, Sources } from './search/sources.ts';
import type { IndexEntry } from './search/index-entry.ts';
import { isFinished, jobView, keyOf } from './view.ts';
import type { StoredJob } from './view.ts';

/** How many entries one call looks at, whatever it finds: a rare filter costs the caller more calls, not Redis more time. */
const BUDGET = 1000;
const CHUNK = 100;
/** Of jobs nobody knows the size of yet. */
const FIRST_CHUNK = 10;
/**
 * About how many bytes of jobs a page holds: a payload and a result have more than a mebibyte together, and 200 jobs of that
 * kind in one answer would take the process. As many are read at once as would have this size if they were like the last.
 */
const PAGE_BYTES = 4 * 1024 * 1024;

/** Lists a tenant's jobs by the shortest of its indexes. */
export class JobList {
  readonly #reader: JobReader;
  readonly #sources: Sources;

  constructor(reader: JobReader, sources: Sources) {
    this.#reader = reader;
    this.#sources = sources;
  }

  /** A page of jobs, newest first. @throws WaggleError validation for a cursor that is none */
  async page(tenant: string, query: JobListQuery): Promise<JobPage> {
    const { limit, cursor, ...filter } = query;
    const source = await this.#sources.shortest(tenant, filter);
    const found: StoredJob[] = [];
    let last = cursor === undefined ? null : decodeCursor(cursor);
    let bytes = 0;
    let chunk = FIRST_CHUNK;
    for (let examined = 0; examined < BUDGET;) {
      const asked = Math.min(chunk, BUDGET - examined);
      const entries = await source.page(last, asked);
      const { jobs, bytesRead } = await this.#matching(tenant, source, entries, filter);
      for (const [place, entry] of entries.entries()) {
        last = entry;
        examined += 1;
        const job = jobs[place];
        if (!job) continue;
        found.push(job);
        bytes += bytesOf(job.json);
        if (found.length === limit || bytes >= PAGE_BYTES) return page(found, last);
      }
      if (entries.length < asked) return page(found, null);
      chunk = Math.min(CHUNK, Math.max(1, Math.floor((PAGE_BYTES * entries.length) / (bytesRead + 1))));
    }
    return page(found, last);
  }

  /** By place: the job, or null where it does not match or is gone. */
  async #matching(
    tenant: string,
    source: Source,
    entries: IndexEntry[],
    filter: ListFilter,
  ): Promise<{ jobs: (StoredJob | null)[]; bytesRead: number }> {
    const records = await Promise.all(entries.map((entry) => this.#record(tenant, entry, filter)));
    await source.drop?.(entries.filter((_, place) => records[place] === null));
    const jobs = await Promise.all(
      records.map(async (record) => {
        if (!record || !matches(record, filter)) return null;
        const job = await this.#reader.find(tenant, record.id);
        return job !== null && (filter.state === undefined || job.state === filter.state) ? job : null;
      }),
    );
    const bytesRead = records.reduce((sum, record) => sum + (record ? bytesOf(record.json) : 0), 0);
    return { jobs, bytesRead };
  }

  /** Null when the job is gone, undefined when its id alone says that it does not match. */
  async #record(
    tenant: string,
    entry: IndexEntry,
    filter: ListFilter,
  ): Promise<JobRecord | null | undefined> {
    if (filter.queue !== undefined && queueOfJobId(entry.id) !== filter.queue) return undefined;
    return this.#reader.record(tenant, entry.id);
  }
}

/** Every filter but the state, which costs another read; a finish in the record already rules half of the states out. */
function matches(record: JobRecord, filter: ListFilter): boolean {
  const { json, envelope } = record;
  return (
    (filter.task === undefined || json.name === filter.task) &&
    (filter.key === undefined || keyOf(json) === filter.key) &&
    (filter.tag === undefined || envelope.tags.includes(filter.tag)) &&
    (filter.correlationId === undefined || envelope.correlationId === filter.correlationId) &&
    (filter.flowId === undefined || envelope.flow?.id === filter.flowId) &&
    (filter.state === undefined || json.finishedOn === undefined || isFinished(filter.state))
  );
}

/** What is large in a job. */
function bytesOf({ data: payload, returnvalue }: JobJson): number {
  return payload.length + (returnvalue?.length ?? 0);
}

function page(jobs: StoredJob[], last: IndexEntry | null): JobPage {
  return { jobs: jobs.map(jobView), nextCursor: last === null ? null : encodeCursor(last) };
}

function encodeCursor(entry: IndexEntry): string {
  return Buffer.from(`${entry.createdAt}:${entry.id}`).toString('base64url');
}

function decodeCursor(cursor: string): IndexEntry {
  const match = /^(\d{1,15}):(.+)$/.exec(Buffer.from(cursor, 'base64url').toString());
  const id = match?.[2];
  if (id === undefined || queueOfJobId(id) === null) {
    throw invalid('validation', [{ path: 'cursor', message: 'is not a cursor of this list' }]);
  }
  return { createdAt: Number(match?.[1]), id };
}
