import { expect, test } from '@jest/globals';
import type { Job } from '../../src/shared/schemas.ts';
import { TenantSettings } from '../../src/shared/tenant-schemas.ts';
import type { Tenant, Usage } from '../../src/shared/tenant-schemas.ts';
import { html } from '../../src/dashboard/tenants/html.ts';
import type { Content } from '../../src/dashboard/tenants/html.ts';
import { placesIn } from '../../src/dashboard/tenants/layout.ts';
import { tenantPage } from '../../src/dashboard/tenants/tenant-page.ts';
import { lasted, paced, period, shared } from '../../src/dashboard/tenants/words.ts';

const HOSTILE = `"><script>alert('x')</script>&amp;`;
const HARMLESS = '&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;';

test('every value of a template is escaped, and what a template made is not escaped again', () => {
  expect(html`<p title="${HOSTILE}">${HOSTILE}</p>`.toString()).toBe(
    `<p title="${HARMLESS}">${HARMLESS}</p>`,
  );
  expect(html`${[html`<b>${'<'}</b>`, '>', 3]}`.toString()).toBe('<b>&lt;</b>&gt;3');
});

test('nothing that was stored passes for what a template made', () => {
  const stored = JSON.parse('{"text": "<b>", "toString": null}') as Content;
  expect(() => html`${stored}`).toThrow();
});

test('tasks, tags, errors and names of queues are text on the page of a tenant', () => {
  const tenant: Tenant = {
    ...TenantSettings.parse({}),
    id: 'acme',
    pausedUntil: null,
    configured: false,
    createdAt: null,
    updatedAt: null,
    queues: { [HOSTILE]: { weight: 2 } },
  };
  const { id: _id, createdAt: _createdAt, updatedAt: _updatedAt, ...limits } = tenant;
  const usage: Usage = {
    tenant: 'acme',
    limits,
    queues: { [HOSTILE]: { waiting: 1, delayed: 0, active: 0 } },
    blockedBy: { [HOSTILE]: 1 } as unknown as Usage['blockedBy'],
    windows: [],
  };
  const job = {
    id: HOSTILE,
    task: HOSTILE,
    queue: HOSTILE,
    state: HOSTILE as Job['state'],
    createdAt: `${HOSTILE}T${HOSTILE}`,
    tags: [HOSTILE, HOSTILE],
    error: { code: HOSTILE, message: HOSTILE, retryable: false },
  } as Job;
  const page = tenantPage(placesIn('/dashboard'), {
    tenant,
    work: { shard: 0, usage, jobs: [job], deadLetters: [job] },
  });
  expect(page).not.toContain('<script');
  expect(page).not.toContain(HOSTILE);
  expect(page.split('&lt;script&gt;').length).toBeGreaterThan(15);
  expect(page).toContain(
    `href="/dashboard/queue/${encodeURIComponent(`${HOSTILE} (shard 0)`).replaceAll("'", '&#39;')}`,
  );
});

test('figures are written for people', () => {
  expect([0, 7, 1500, 90_000, 5_400_000, 172_800_000].map(lasted)).toEqual([
    '0 ms',
    '7 ms',
    '1.5 s',
    '1.5 min',
    '1.5 h',
    '2 d',
  ]);
  expect([1, 1000, 1500, 61_000, 86_400_000].map(period)).toEqual(['1 ms', '1 s', '1,500 ms', '61 s', '1 d']);
  expect(paced({ limit: 5000, periodMs: 60_000, burst: 1 })).toBe('5,000 per 1 min, burst 1');
  expect([null, 0, 0.125, 1].map(shared)).toEqual(['–', '0.0 %', '12.5 %', '100.0 %']);
});
