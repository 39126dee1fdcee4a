import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ADMIN_TOKEN, startApi } from '../api/support/api.ts';
import type { Answer, Api, CallOptions } from '../api/support/api.ts';
import { expectProblem } from '../api/support/problems.ts';
import { freshRedisUrl } from '../support/redis.ts';

let api: Api;

beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
});
afterAll(() => api.stop());

const PAGE = { Accept: 'text/html,*/*' };
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

function logIn(token: string, headers: CallOptions['headers'] = {}): Promise<Answer> {
  const raw = new URLSearchParams({ token }).toString();
  return api.call('POST', '/dashboard/login', { raw, headers: { ...FORM, ...headers } });
}

async function cookie(): Promise<string> {
  const answer = await logIn(ADMIN_TOKEN);
  return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
}

test('a browser without a session is sent to the login page, a script is told 401', async () => {
  for (const path of ['/dashboard', '/dashboard/', '/dashboard/queue/default%20(shard%200)']) {
    const answer = await api.call('GET', path, { headers: PAGE });
    expect([answer.status, answer.headers.location]).toEqual([303, '/dashboard/login']);
  }
  for (const path of ['/dashboard', '/dashboard/api/queues', '/dashboard/static/js/main.js']) {
    expectProblem(await api.call('GET', path), 401, 'unauthenticated');
  }
  expectProblem(
    await api.call('PUT', '/dashboard/api/queues/pause', { headers: PAGE }),
    401,
    'unauthenticated',
  );
});

test('the pages run under a policy that names no other host', async () => {
  for (const [path, options] of [
    ['/dashboard/login', {}],
    ['/dashboard', { token: ADMIN_TOKEN }],
  ] as const) {
    const { status, headers } = await api.call('GET', path, options);
    expect(status).toBe(200);
    expect(headers['content-security-policy']).toContain("script-src 'self';");
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(headers['content-security-policy']).not.toMatch(/https?:|\*/);
    expect(headers['x-powered-by']).toBeUndefined();
  }
});

test('logging in gives a strict session, and logging out takes it away', async () => {
  const answer = await logIn(ADMIN_TOKEN);
  expect([answer.status, answer.headers.location]).toEqual([303, '/dashboard']);
  const set = answer.headers['set-cookie']?.[0] ?? '';
  expect(set).toMatch(
    /^waggle_dashboard=[^;]+; Max-Age=28800; Path=\/dashboard; .*HttpOnly; SameSite=Strict$/,
  );
  expect(set).not.toContain(ADMIN_TOKEN);
  const secure = await logIn(ADMIN_TOKEN, { 'X-Forwarded-Proto': 'https' });
  expect(secure.headers['set-cookie']?.[0]).toContain('; Secure');

  const Cookie = await cookie();
  expect((await api.call('GET', '/dashboard', { headers: { Cookie, ...PAGE } })).status).toBe(200);
  expect((await api.call('GET', '/dashboard/api/queues', { headers: { Cookie } })).status).toBe(200);
  const out = await api.call('POST', '/dashboard/logout', { headers: { Cookie } });
  expect([out.status, out.headers.location]).toEqual([303, '/dashboard/login']);
  expect(out.headers['set-cookie']?.[0]).toMatch(
    /^waggle_dashboard=; Path=\/dashboard; Expires=Thu, 01 Jan 1970/,
  );
});

test('a session opens the dashboard and nothing else', async () => {
  expectProblem(
    await api.call('GET', '/v1/tenants', { headers: { Cookie: await cookie() } }),
    401,
    'unauthenticated',
  );
});

test('another site can do nothing with a session', async () => {
  const Cookie = await cookie();
  const elsewhere = [
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { Origin: 'https://evil.example' },
    { Origin: 'null' },
  ];
  for (const headers of elsewhere) {
    const options = { headers: { Cookie, ...headers } };
    expectProblem(await api.call('PUT', '/dashboard/api/queues/pause', options), 403, 'forbidden');
    expectProblem(await api.call('POST', '/dashboard/logout', options), 403, 'forbidden');
    expectProblem(await logIn(ADMIN_TOKEN, headers), 403, 'forbidden');
  }
  const headers = { Cookie, Origin: `http://127.0.0.1:${api.port}`, 'Sec-Fetch-Site': 'same-origin' };
  expect((await api.call('PUT', '/dashboard/api/queues/resume', { headers })).status).toBe(200);
});

test('the bearer token works too; a key of a tenant does not', async () => {
  expect((await api.admin('GET', '/dashboard/api/queues')).status).toBe(200);
  expectProblem(await api.call('GET', '/dashboard/api/queues', { token: 'wrong' }), 401, 'unauthenticated');
  const token = await api.key('acme');
  expectProblem(await api.call('GET', '/dashboard/api/queues', { token }), 403, 'forbidden');
});

test('queues of every shard appear without a restart', async () => {
  const names = async (): Promise<string[]> =>
    (await api.admin('GET', '/dashboard/api/queues')).json.queues.map(
      (queue: { name: string }) => queue.name,
    );
  const headers = { 'X-Tenant-Id': 'acme' };
  await api.admin('POST', '/v1/jobs', { headers, body: { task: 'echo', queue: 'fresh' } });
  const shown = (await names()).filter((name) => name.startsWith('fresh'));
  expect(shown).toEqual(['fresh (shard 0)', 'fresh (shard 1)', 'fresh (shard 2)', 'fresh (shard 3)']);
});

test('a job cannot be made, nor its envelope edited, past the API', async () => {
  const job = (
    await api.admin('POST', '/v1/jobs', { headers: { 'X-Tenant-Id': 'acme' }, body: { task: 'echo' } })
  ).json;
  const { json } = await api.admin('GET', '/dashboard/api/queues');
  for (const { name } of json.queues as { name: string }[]) {
    const added = await api.admin('POST', `/dashboard/api/queues/${encodeURIComponent(name)}/add`, {
      body: { name: 'x', data: {}, options: {} },
    });
    expect(added.status).toBe(403);
    const path = `/dashboard/api/queues/${encodeURIComponent(name)}/${job.id}/update-data`;
    expect((await api.admin('PATCH', path, { body: { jobData: { tenant: 'globex' } } })).status).toBe(403);
  }
});

test('wrong tokens are refused, and after five of them the address waits', async () => {
  const answers: Answer[] = [];
  for (let n = 0; n < 8; n++) answers.push(await logIn(`wrong-${n}`));
  expect(answers.map((answer) => answer.status)).toEqual([401, 401, 401, 401, 401, 429, 429, 429]);
  expect(answers[0]?.text).toContain('That is not the admin token.');
  expect(answers[0]?.headers['set-cookie']).toBeUndefined();
  expect(Number(answers[5]?.headers['retry-after'])).toBeGreaterThan(0);
  // Now the right one has to wait as well, or guessing would go on.
  expect((await logIn(ADMIN_TOKEN)).status).toBe(429);
});

test('a form that is none, or too large', async () => {
  expectProblem(
    await api.call('POST', '/dashboard/login', { body: { token: ADMIN_TOKEN } }),
    415,
    'unsupported_media_type',
  );
  const raw = `token=${'x'.repeat(20_000)}`;
  expectProblem(await api.call('POST', '/dashboard/login', { raw, headers: FORM }), 413, 'payload_too_large');
});
