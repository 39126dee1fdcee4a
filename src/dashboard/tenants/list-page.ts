import { DEFAULT_TENANT, isTenantId } from '../../shared/ids.ts';
import type { Tenant, Usage } from '../../shared/tenant-schemas.ts';
import { html } from './html.ts';
import type { Content } from './html.ts';
import { page, table, tenantPath } from './layout.ts';
import type { Places } from './layout.ts';
import { counted, limited, paced, paused, shared } from './words.ts';

/** Of the windows of usage the one that is neither of the moment nor of the past. */
const SHARE_WINDOW_MS = 300_000;

export interface ListedTenant {
  id: string;
  settings: Settings;
  /** Null where it was not looked at. */
  work: Pick<Usage, 'queues' | 'windows'> | null;
}

type Settings = Pick<Tenant, 'weight' | 'maxRunning' | 'rate' | 'maxWaiting' | 'paused' | 'pausedUntil'>;

export interface TenantList {
  /** What was searched for; empty when nothing was. */
  search: string;
  /** Whether it is the first page of what was searched for. */
  isFirst: boolean;
  /** `*`; null where it is not asked for. */
  defaults: Tenant | null;
  tenants: readonly ListedTenant[];
  /** Whether what they have in the queues and have got was looked at. */
  withWork: boolean;
  /** The cursor of the next page; null on the last one. */
  nextCursor: string | null;
}

const COLUMNS = [
  { title: 'Tenant' },
  { title: 'Paused' },
  { title: 'Waiting', isNumber: true },
  { title: 'Running', isNumber: true },
  { title: 'Share, 5 min', isNumber: true },
  { title: 'Entitled', isNumber: true },
  { title: 'Weight', isNumber: true },
  { title: 'Max. running', isNumber: true },
  { title: 'Rate' },
  { title: 'Max. waiting', isNumber: true },
];

const TOO_MANY_QUEUES = html`<p>
  There are too many queues to look into each of them for each tenant: the page of a tenant does.
</p>`;

/** The tenants that were configured, a page of them. */
export function listPage(places: Places, list: TenantList): string {
  const { search, defaults, tenants, withWork } = list;
  const rows = [
    ...(defaults === null ? [] : [defaultsRow(places, defaults)]),
    ...tenants.map((tenant) => tenantRow(places, tenant)),
  ];
  const caption = search === '' ? 'Configured tenants' : `Configured tenants that begin with “${search}”`;
  return page(
    places,
    'Tenants',
    'Tenants',
    html`${searchForm(places, search)} ${unconfigured(places, list)} ${withWork ? '' : TOO_MANY_QUEUES}
    ${table(caption, COLUMNS, rows)} ${paging(places, list)}`,
  );
}

function searchForm({ tenants }: Places, search: string): Content {
  return html`<form method="get" action="${tenants}" role="search">
    <label for="id">Id, or the beginning of one</label>
    <input
      id="id"
      name="id"
      type="search"
      value="${search}"
      maxlength="64"
      autocomplete="off"
      spellcheck="false"
    />
    <button type="submit">Find</button>
  </form>`;
}

/** A tenant needs no settings to have jobs, so that it may be none of the list. */
function unconfigured(places: Places, { search, isFirst, tenants }: TenantList): Content {
  // Its own id is the first of those that begin with it.
  if (!isFirst || !isTenantId(search) || tenants.some(({ id }) => id === search)) return '';
  return html`<p>
    Nobody configured <a href="${tenantPath(places, search)}">${search}</a>: what it has goes by the defaults
    of <code>*</code>.
  </p>`;
}

function tenantRow(places: Places, { id, settings, work }: ListedTenant): Content[] {
  return [
    html`<a href="${tenantPath(places, id)}">${id}</a>`,
    paused(settings),
    ...(work === null ? NO_WORK : workCells(work)),
    ...settingCells(settings),
  ];
}

function defaultsRow(places: Places, defaults: Tenant): Content[] {
  return [
    html`<a href="${tenantPath(places, DEFAULT_TENANT)}">*</a> (defaults)`,
    paused(defaults),
    ...NO_WORK,
    ...settingCells(defaults),
  ];
}

const NO_WORK = ['–', '–', '–', '–'];

function workCells({ queues, windows }: NonNullable<ListedTenant['work']>): Content[] {
  const share = windows.find(({ windowMs }) => windowMs === SHARE_WINDOW_MS)?.share;
  const inQueues = Object.values(queues);
  return [
    counted(inQueues.reduce((sum, { waiting }) => sum + waiting, 0)),
    counted(inQueues.reduce((sum, { active }) => sum + active, 0)),
    shared(share?.received),
    shared(share?.entitled),
  ];
}

function settingCells({ weight, maxRunning, rate, maxWaiting }: Settings): Content[] {
  return [weight, limited(maxRunning), paced(rate), limited(maxWaiting)];
}

function paging({ tenants }: Places, { search, nextCursor }: TenantList): Content {
  if (nextCursor === null) return '';
  const query = new URLSearchParams({ ...(search === '' ? {} : { id: search }), cursor: nextCursor });
  return html`<p><a href="${tenants}?${query.toString()}" rel="next">Next page</a></p>`;
}
