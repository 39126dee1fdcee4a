import type { Job } from '../../shared/schemas.ts';
import type { Tenant, Usage, UsageWindow } from '../../shared/tenant-schemas.ts';
import { boardJobPath } from '../board-address.ts';
import { html } from './html.ts';
import type { Content } from './html.ts';
import { page, table } from './layout.ts';
import type { Places } from './layout.ts';
import { pauseForms } from './pause.ts';
import { charged, counted, foreign, lasted, limited, moment, paced, paused, shared } from './words.ts';

export interface TenantDetail {
  tenant: Tenant;
  /** What only a tenant has, as opposed to the defaults `*`. */
  work: TenantWork | null;
}

export interface TenantWork {
  shard: number;
  usage: Usage;
  /** The latest of all its jobs, and of those that failed for good. */
  jobs: readonly Job[];
  deadLetters: readonly Job[];
}

/** How much is shown of what a handler said; the board has all of it. */
const ERROR_CHARS = 300;

/** One tenant, or the defaults of those nobody configured. */
export function tenantPage(places: Places, { tenant, work }: TenantDetail): string {
  return page(
    places,
    `Tenant ${tenant.id}`,
    html`Tenant <code>${tenant.id}</code>`,
    html`${summary(tenant, work)} ${pauseForms(places, tenant)}
    ${work === null ? '' : nowSections(work.usage)} ${limitSections(tenant)}
    ${work === null ? '' : jobSections(places, work)}`,
  );
}

function summary(tenant: Tenant, work: TenantWork | null): Content {
  const place =
    work === null
      ? html`What holds for tenants nobody configured.`
      : html`In shard ${work.shard}.
        ${tenant.configured ? '' : html`Nobody configured it: the defaults of <code>*</code> hold.`}`;
  const times = tenant.configured
    ? html`Configured ${moment(tenant.createdAt)}, changed ${moment(tenant.updatedAt)}.`
    : '';
  return html`<p>${place} ${times} Paused: ${paused(tenant)}.</p>`;
}

function nowSections({ queues, blockedBy, windows }: Usage): Content {
  const inQueues = Object.entries(queues).sort(([one], [other]) => (one < other ? -1 : 1));
  const total = { waiting: 0, delayed: 0, active: 0 };
  for (const [, { waiting, delayed, active }] of inQueues) {
    total.waiting += waiting;
    total.delayed += delayed;
    total.active += active;
  }
  const held = Object.entries(blockedBy).filter(([, jobs]) => jobs > 0);
  return [
    table('In the queues', numbers('Queue', 'Waiting', 'Delayed', 'Running'), [
      countsRow('All', total),
      ...inQueues.map(([name, counts]) => countsRow(name, counts)),
    ]),
    table(
      'Held by',
      numbers('Gate', 'Jobs'),
      held.map(([gate, jobs]) => [html`<code>${gate}</code>`, counted(jobs)]),
    ),
    table('Used', WINDOW_COLUMNS, windows.map(windowRow)),
  ];
}

function countsRow(name: string, { waiting, delayed, active }: Usage['queues'][string]): Content[] {
  return [name, counted(waiting), counted(delayed), counted(active)];
}

const WINDOW_COLUMNS = numbers(
  'Over the last',
  'Started',
  'Completed',
  'Failed',
  'Share received',
  'Entitled',
  'Wait p50',
  'p95',
  'p99',
);

function windowRow({ windowMs, started, finished, share, waitMs }: UsageWindow): Content[] {
  return [
    `${windowMs / 60_000} min`,
    counted(started),
    counted(finished.completed),
    counted(finished.failed),
    shared(share.received),
    shared(share.entitled),
    lasted(waitMs.p50),
    lasted(waitMs.p95),
    lasted(waitMs.p99),
  ];
}

function limitSections(tenant: Tenant): Content {
  const queues = Object.entries(tenant.queues).map(([name, limits]) => [
    name,
    limits.weight ?? 'its own',
    limited(limits.maxRunning),
    paced(limits.rate),
    charged(limits.chargeRunMs),
  ]);
  const { weight, maxRunning, rate, maxWaiting, chargeRunMs } = tenant;
  return [
    table('Limits', LIMIT_COLUMNS, [
      [
        'Over all queues',
        weight,
        limited(maxRunning),
        paced(rate),
        charged(chargeRunMs),
        limited(maxWaiting),
      ],
    ]),
    queues.length === 0 ? '' : table('In single queues', LIMIT_COLUMNS.slice(0, 5), queues),
  ];
}

const LIMIT_COLUMNS = [
  { title: 'Where' },
  { title: 'Weight', isNumber: true },
  { title: 'Max. running', isNumber: true },
  { title: 'Rate' },
  { title: 'Run time that counts as a job', isNumber: true },
  { title: 'Max. waiting', isNumber: true },
];

function jobSections(places: Places, { shard, jobs, deadLetters }: TenantWork): Content {
  const rows = (some: readonly Job[]): Content[][] => some.map((job) => jobRow(places, shard, job));
  return [
    table('Latest jobs', JOB_COLUMNS, rows(jobs)),
    table('Latest dead letters', JOB_COLUMNS, rows(deadLetters)),
  ];
}

const JOB_COLUMNS = ['Job', 'Task', 'State', 'Created', 'Tags', 'Error'].map((title) => ({ title }));

function jobRow({ board }: Places, shard: number, job: Job): Content[] {
  return [
    html`<a href="${boardJobPath(board, job.queue, shard, job.id)}"><code>${job.id}</code></a>`,
    foreign(job.task),
    job.state,
    moment(job.createdAt),
    job.tags.map((tag) => html`<span class="tag">${foreign(tag)}</span> `),
    job.error === null ? '' : errorCell(job.error),
  ];
}

function errorCell({ code, message }: NonNullable<Job['error']>): Content {
  const shown = message.length > ERROR_CHARS ? `${message.slice(0, ERROR_CHARS)}…` : message;
  return html`<code>${foreign(code)}</code> ${foreign(shown)}`;
}

function numbers(first: string, ...others: string[]): { title: string; isNumber?: boolean }[] {
  return [{ title: first }, ...others.map((title) => ({ title, isNumber: true }))];
}
