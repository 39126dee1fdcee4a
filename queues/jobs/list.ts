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
    for (let examined = 0; examined < BUDGET;) {
      const entries = await source.page(last, Math.min(CHUNK, BUDGET - examined));
      const jobs = await this.#matching(tenant, source, entries, filter);
      for (const [place, entry] of entries.entries()) {
        last = entry;
        examined += 1;
        const job = jobs[place];
        if (job) found.push(job);
        if (found.length === limit) return page(found, last);
      }
      if (entries.length < CHUNK) return page(found, null);
    }
    return page(found, last);
  }

  /** By place: the job, or null where it does not match or is gone. */
  async #matching(
    tenant: string,
    source: Source,
    entries: IndexEntry[],
    filter: ListFilter,
  ): Promise<(StoredJob | null)[]> {
    const records = await Promise.all(entries.map((entry) => this.#record(tenant, entry, filter)));
    await source.drop?.(entries.filter((_, place) => records[place] === null));
    return Promise.all(
      records.map(async (record) => {
        if (!record || !matches(record, filter)) return null;
        const job = await this.#reader.find(tenant, record.id);
        return job !== null && (filter.state === undefined || job.state === filter.state) ? job : null;
      }),
    );
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
