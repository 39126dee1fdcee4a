import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { ADMIN_TOKEN, startApi } from '../api/support/api.ts';
import type { Answer, Api, CallOptions } from '../api/support/api.ts';
import { HOSTILE_IDS } from '../api/support/hostile-ids.ts';
import { expectProblem } from '../api/support/problems.ts';
import type { EntryProcess } from '../api/support/process.ts';
import { startWorker } from '../api/support/worker.ts';
import { freshRedisUrl } from '../support/redis.ts';

let redis: Redis;
let api: Api;
let worker: EntryProcess;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
  redis.disconnect();
});

const LIST = '/dashboard/tenants';
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

const see = (path: string, options: CallOptions = {}): Promise<Answer> => api.admin('GET', path, options);

function submit(
  path: string,
  fields: Record<string, string> = {},
  options: CallOptions = {},
): Promise<Answer> {
  const { headers, ...others } = options;
  const raw = new URLSearchParams(fields).toString();
  return api.call('POST', path, { raw, headers: { ...FORM, ...headers }, ...others });
}

async function logIn(): Promise<string> {
  const answer = await submit('/dashboard/login', { token: ADMIN_TOKEN });
  return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
}

async function configured(tenant: string, settings: object = {}): Promise<void> {
  expect((await api.admin('PUT', `/v1/tenants/${tenant}`, { body: settings })).status).toBe(200);
}

async function enqueued(tenant: string, body: object, headers: CallOptions['headers'] = {}): Promise<any> {
  const answer = await api.admin('POST', '/v1/jobs', {
    headers: { 'X-Tenant-Id': tenant, ...headers },
    body,
  });
  expect([200, 202]).toContain(answer.status);
  return answer.json;
}

/** The texts of a page's table rows, cells apart. */
function rowsOf({ text }: Answer): string[][] {
  return [...text.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row = '']) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/gs)].map(([, cell = '']) => textOf(cell)),
  );
}

const textOf = (markup: string): string =>
  markup
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();

/** The tenants that a page has links to, in order; the defaults are `*`. */
const shown = ({ text }: Answer): string[] =>
  [...text.matchAll(/<a href="\/dashboard\/tenants\/([^"]+)"/g)].map(([, id = '']) => id);

const entriesOf = async (tenant: string): Promise<any[]> =>
  (await api.admin('GET', `/v1/audit?tenant=${tenant}`)).json.entries;

test('the pages are for the admin, under the policy of the board', async () => {
  await configured('guarded');
  const token = await api.key('guarded');
  const board = await see('/dashboard');
  for (const path of [LIST, `${LIST}/guarded`, `${LIST}/*`, `${LIST}/tenants.css`]) {
    const browser = await api.call('GET', path, { headers: { Accept: 'text/html,*/*' } });
    expect([browser.status, browser.headers.location]).toEqual([303, '/dashboard/login']);
    expectProblem(await api.call('GET', path), 401, 'unauthenticated');
    expectProblem(await api.call('GET', path, { token }), 403, 'forbidden');
    const admin = await see(path);
    expect([path, admin.status]).toEqual([path, 200]);
    for (const header of ['content-security-policy', 'x-frame-options', 'x-content-type-options'])
      expect(admin.headers[header]).toBe(board.headers[header]);
    expect((await api.call('GET', path, { headers: { Cookie: await logIn() } })).status).toBe(200);
  }
  for (const act of ['pause', 'resume']) {
    expectProblem(await submit(`${LIST}/guarded/${act}`), 401, 'unauthenticated');
    expectProblem(await submit(`${LIST}/guarded/${act}`, {}, { token }), 403, 'forbidden');
  }
  expect((await api.admin('GET', '/v1/tenants/guarded')).json.paused).toBe(false);
});

test('a page needs no script, is not kept, and is said to be in English', async () => {
  for (const path of [LIST, `${LIST}/acme`]) {
    const { text, headers } = await see(path);
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    expect(headers['cache-control']).toBe('no-store');
    expect(text).toMatch(/^<!doctype html>\s*<html lang="en">/);
    expect(text).toMatch(/<title>[^<]+ · Waggle<\/title>/);
    expect(text).not.toMatch(/<script|<style|style=|javascript:| on\w+=|http-equiv|https?:/i);
    for (const [, attributes = ''] of text.matchAll(/<th\b([^>]*)>/g))
      expect(attributes).toMatch(/scope="(col|row)"/);
    for (const [, id = ''] of text.matchAll(/<(?:input|select)\s[^>]*?id="(\w+)"/g))
      expect(text).toContain(`<label for="${id}"`);
  }
  const style = await see(`${LIST}/tenants.css`);
  expect(style.headers['content-type']).toBe('text/css; charset=utf-8');
  expect(style.text).toContain('prefers-color-scheme: dark');
});

test('the list tells the limits, the pause and the work of each tenant, the defaults first', async () => {
  await configured('listed', {
    weight: 3,
    maxRunning: 20,
    maxWaiting: 100_000,
    rate: { limit: 50, periodMs: 1000, burst: 10 },
    paused: true,
  });
  for (let n = 0; n < 3; n += 1) await enqueued('listed', { task: 'echo' });
  const [head, ...rows] = rowsOf(await see(LIST));
  expect(head?.slice(0, 4)).toEqual(['Tenant', 'Paused', 'Waiting', 'Running']);
  expect(rows[0]).toEqual(['* (defaults)', 'no', '–', '–', '–', '–', '1', 'none', 'none', 'none']);
  const row = rows.find(([id]) => id === 'listed') ?? [];
  expect(row.slice(0, 4)).toEqual(['listed', 'until resumed', '3', '0']);
  expect(row.slice(6)).toEqual(['3', '20', '50 per 1 s, burst 10', '100,000']);
});

test('the page of a tenant tells where it stands and what it has got', async () => {
  const settings = { weight: 2, queues: { mail: { maxRunning: 2, rate: { limit: 1, periodMs: 60_000 } } } };
  await configured('told', settings);
  await enqueued('told', { task: 'echo' }, { Prefer: 'wait=60' });
  await api.admin('POST', '/v1/tenants/told/pause', { body: { untilMs: 3_600_000 } });
  await enqueued('told', { task: 'echo' });
  await enqueued('told', { task: 'echo', delayMs: 3_600_000 });
  const rows = rowsOf(await see(`${LIST}/told`));
  expect(rows).toContainEqual(['All', '1', '1', '0']);
  expect(rows).toContainEqual(['default', '1', '1', '0']);
  expect(rows).toContainEqual(['tenant_paused', '1']);
  expect(rows).toContainEqual(['Over all queues', '2', 'none', 'none', 'none', 'none']);
  expect(rows).toContainEqual(['mail', 'its own', '2', '1 per 1 min, burst 1', 'none']);
  const { json } = await api.admin('GET', '/v1/tenants/told/usage');
  expect(rows.filter(([name]) => / min$/.test(name ?? '')).map(([name]) => name)).toEqual(
    json.windows.map((each: any) => `${each.windowMs / 60_000} min`),
  );
  expect((await see(`${LIST}/told`)).text).toMatch(/Paused:\s*<strong>until\s*<time datetime="\d{4}-/);
});

test('what callers and handlers wrote is shown as text, with a link to the job in the board', async () => {
  const tag = `<script>alert("tag")</script>`;
  const message = `<img src=x onerror="alert('error')">`;
  const job = await enqueued(
    'hostile',
    { task: 'fail', payload: { message, times: 9 }, attempts: 1, tags: [tag] },
    { Prefer: 'wait=60' },
  );
  expect(job).toMatchObject({ state: 'failed', error: { message } });
  const answer = await see(`${LIST}/hostile`);
  expect(answer.text).not.toMatch(/<script|<img/);
  const text = [
    '&lt;script&gt;alert(&quot;tag&quot;)&lt;/script&gt;',
    '&lt;img src=x onerror=&quot;alert(&#39;error&#39;)&quot;&gt;',
  ];
  const rows = rowsOf(answer).filter(([id]) => id === job.id);
  // Among the latest jobs, and among the dead letters.
  expect(rows).toHaveLength(2);
  for (const row of rows) {
    expect(row.slice(1, 3)).toEqual(['fail', 'failed']);
    expect(row[4]).toBe(text[0]);
    expect(row[5]).toContain(text[1]);
  }
  expect(answer.text).toMatch(new RegExp(`href="/dashboard/queue/default%20\\(shard%20\\d\\)/${job.id}"`));
  const search = await see(`${LIST}?id=${encodeURIComponent('"><script>')}`);
  expect(search.status).toBe(200);
  expect(search.text).toContain('value="&quot;&gt;&lt;script&gt;"');
  expect(search.text).not.toContain('<script');
});

test('no more than twenty jobs are shown, the latest', async () => {
  await configured('busy', { paused: true });
  const jobs = Array.from({ length: 25 }, () => ({ task: 'echo' }));
  const { results } = (
    await api.admin('POST', '/v1/jobs/batch', { headers: { 'X-Tenant-Id': 'busy' }, body: { jobs } })
  ).json;
  const ids = results.map((each: any) => each.id as string);
  const rows = rowsOf(await see(`${LIST}/busy`)).map(([id = '']) => id);
  expect(rows.filter((id) => ids.includes(id)).sort()).toEqual(ids.sort().slice(-20));
});

test('an id is found, by itself or by its beginning, also where nobody configured it', async () => {
  for (const id of ['find-a', 'find-a-2', 'find-b']) await configured(id);
  const found = async (id: string): Promise<unknown[]> => {
    const answer = await see(`${LIST}?id=${encodeURIComponent(id)}`);
    return answer.status === 200 ? shown(answer) : [answer.status, answer.headers.location];
  };
  expect(await found('find-b')).toEqual([303, `${LIST}/find-b`]);
  expect(await found(' find-b ')).toEqual([303, `${LIST}/find-b`]);
  expect(await found('find-a')).toEqual(['find-a', 'find-a-2']);
  expect(await found('find')).toEqual(['find', 'find-a', 'find-a-2', 'find-b']);
  expect(await found('*')).toEqual([303, `${LIST}/*`]);
  expect(await found('find*')).toEqual([]);
  // The first is a link to one that nobody configured.
  expect(await found('found')).toEqual(['found']);
  await enqueued('found', { task: 'echo' });
  expect((await see(`${LIST}/found`)).text).toContain('Nobody configured it');
});

test('a page holds a hundred tenants, and goes on where the one before ended', async () => {
  const ids = Array.from({ length: 230 }, (_, n) => `page-${String(n).padStart(3, '0')}`);
  await redis.sadd('wg:tenants', ...ids);
  const sizes: number[] = [];
  const seen: string[] = [];
  let next: string | undefined = `${LIST}?id=page-`;
  while (next !== undefined) {
    const answer: Answer = await see(next);
    const page = shown(answer);
    sizes.push(page.length);
    seen.push(...page);
    next = /href="([^"]+)" rel="next"/.exec(answer.text)?.[1]?.replaceAll('&amp;', '&');
  }
  // The first is a link to what was searched for, if it should be a tenant that nobody configured.
  expect(sizes).toEqual([101, 100, 30]);
  expect(seen).toEqual(['page-', ...ids]);
  // Only the first page of all begins with the defaults.
  expect(shown(await see(LIST))[0]).toBe('*');
  expect(shown(await see(`${LIST}?cursor=page-000`))[0]).toBe('page-001');
});

test('pause and resume act as the calls of the API do, and are recorded as they are', async () => {
  await configured('held');
  const Cookie = await logIn();
  const headers = { Cookie, Origin: `http://127.0.0.1:${api.port}`, 'Sec-Fetch-Site': 'same-origin' };
  const isPaused = async (): Promise<unknown[]> => {
    const { paused, pausedUntil } = (await api.admin('GET', '/v1/tenants/held')).json;
    return [paused, pausedUntil === null ? null : Date.parse(pausedUntil) > Date.now()];
  };
  const page = await see(`${LIST}/held`);
  expect(page.text).toContain('action="/dashboard/tenants/held/pause"');
  expect(page.text).not.toContain('/resume"');

  const paused = await submit(`${LIST}/held/pause`, { untilMs: '' }, { headers });
  expect([paused.status, paused.headers.location]).toEqual([303, `${LIST}/held`]);
  expect(await isPaused()).toEqual([true, null]);
  expect((await see(`${LIST}/held`)).text).toContain('action="/dashboard/tenants/held/resume"');
  const resumed = await submit(`${LIST}/held/resume`, {}, { headers });
  expect([resumed.status, resumed.headers.location]).toEqual([303, `${LIST}/held`]);
  expect(await isPaused()).toEqual([false, null]);
  await submit(`${LIST}/held/pause`, { untilMs: '3600000' }, { token: ADMIN_TOKEN });
  expect(await isPaused()).toEqual([true, true]);

  const entries = await entriesOf('held');
  expect(entries.slice(0, 3)).toMatchObject([
    {
      actor: 'admin',
      action: 'pauseTenant',
      target: `${LIST}/held/pause`,
      status: 303,
      detail: { untilMs: 3_600_000 },
    },
    { actor: 'admin', action: 'resumeTenant', target: `${LIST}/held/resume`, status: 303, detail: {} },
    {
      actor: 'admin',
      action: 'pauseTenant',
      requestId: paused.headers['x-request-id'],
      detail: { untilMs: null },
    },
  ]);
  const writes = (await api.admin('GET', '/v1/audit?action=dashboardWrite')).json.entries;
  expect(writes).toEqual([]);
});

test('the defaults are paused and resumed in the same way', async () => {
  const { text } = await see(`${LIST}/*`);
  expect(text).toContain('action="/dashboard/tenants/*/pause"');
  expect(text).not.toContain('Latest jobs');
  await submit(`${LIST}/*/pause`, {}, { token: ADMIN_TOKEN });
  expect((await api.admin('GET', '/v1/tenants/*')).json.paused).toBe(true);
  await submit(`${LIST}/*/resume`, {}, { token: ADMIN_TOKEN });
  expect((await api.admin('GET', '/v1/tenants/*')).json.paused).toBe(false);
});

test('another site pauses nobody', async () => {
  await configured('safe');
  const Cookie = await logIn();
  const elsewhere = [
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { Origin: 'https://evil.example' },
    { Origin: 'null' },
  ];
  for (const headers of elsewhere)
    for (const act of ['pause', 'resume'])
      expectProblem(
        await submit(`${LIST}/safe/${act}`, {}, { headers: { Cookie, ...headers } }),
        403,
        'forbidden',
      );
  expect((await api.admin('GET', '/v1/tenants/safe')).json.paused).toBe(false);
  // Nor does a link: a GET changes nothing.
  expect((await see(`${LIST}/safe/pause`)).status).not.toBe(303);
  expect((await api.admin('GET', '/v1/tenants/safe')).json.paused).toBe(false);
});

test('what makes no sense is refused, and what is refused is recorded', async () => {
  const token = ADMIN_TOKEN;
  await configured('odd');
  for (const untilMs of ['1', '-1', 'x', '99999999999999999999'])
    expectProblem(await submit(`${LIST}/odd/pause`, { untilMs }, { token }), 400, 'validation');
  expect((await entriesOf('odd'))[0]).toMatchObject({
    action: 'pauseTenant',
    status: 400,
    detail: { code: 'validation' },
  });
  expectProblem(await api.admin('POST', `${LIST}/odd/pause`, { body: {} }), 415, 'unsupported_media_type');
  for (const query of ['?cursor=*', '?cursor=A', '?who=me', '?id=a&id=b', `?id=${'x'.repeat(65)}`])
    expectProblem(await see(`${LIST}${query}`), 400, 'validation');
  expectProblem(await see(`${LIST}/odd?id=x`), 400, 'validation');
  for (const id of HOSTILE_IDS.slice(0, -1)) {
    expectProblem(await see(`${LIST}/${encodeURIComponent(id)}`), 404, 'not_found');
    expectProblem(await submit(`${LIST}/${encodeURIComponent(id)}/pause`, {}, { token }), 404, 'not_found');
  }
  expect((await api.admin('GET', '/v1/tenants/odd')).json.paused).toBe(false);
});

test('where there are many queues, a page takes no more looks into them', async () => {
  const many = await freshRedisUrl();
  const other = await startApi(many);
  const direct = new Redis(many);
  const queues = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, n) => `queue-${from + n}`);
  try {
    await direct.sadd('wg:tenants', ...Array.from({ length: 110 }, (_, n) => `tenant-${n}`));
    await direct.sadd('wg:queues', ...queues(0, 40));
    const fewer = await other.admin('GET', LIST);
    expect(shown(fewer)).toHaveLength(1 + 50);
    expect(fewer.text).toContain('rel="next"');
    expect(rowsOf(fewer)[2]?.slice(2, 4)).toEqual(['0', '0']);
    await direct.sadd('wg:queues', ...queues(40, 400));
    const none = await other.admin('GET', LIST);
    expect(shown(none)).toHaveLength(1 + 100);
    expect(none.text).toContain('too many queues');
    expect(rowsOf(none)[2]?.slice(2, 4)).toEqual(['–', '–']);
  } finally {
    direct.disconnect();
    await other.stop();
  }
});
