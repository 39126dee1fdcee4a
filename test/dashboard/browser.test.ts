import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { chromium } from 'playwright-core';
import type { BrowserContext, Page } from 'playwright-core';
import { shardOf } from '../../queues/topology/shard-of.ts';
import { ADMIN_TOKEN, startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { freshRedisUrl } from '../support/redis.ts';

const CHROMIUM = '/usr/bin/chromium';
const QUIET = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const SHARDS = 4;
/** No claim: a browser on a machine with a lot to do is slow. */
const WAIT_MS = 90_000;

const installed = existsSync(CHROMIUM);
if (!installed) process.stderr.write(`The dashboard is not tested in a browser: there is no ${CHROMIUM}.\n`);

(installed ? describe : describe.skip)('the dashboard in a browser', () => {
  let api: Api;
  let profile: string;
  let browser: BrowserContext;
  let page: Page;
  const faults: string[] = [];

  beforeAll(async () => {
    api = await startApi(await freshRedisUrl(), { WAGGLE_SHARDS: String(SHARDS) });
    profile = await mkdtemp(join(tmpdir(), 'waggle-chromium-'));
    browser = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM,
      headless: true,
      args: ['--no-sandbox', '--disable-gpu', ...QUIET],
      viewport: { width: 1400, height: 900 },
      timeout: WAIT_MS,
    });
    browser.setDefaultTimeout(WAIT_MS);
    page = await browser.newPage();
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('request', (request) => {
      // The policy of the page must keep the browser from asking anyone else.
      if (!request.url().startsWith(api.url) && !request.failure())
        void request.response().then((response) => {
          if (response !== null) faults.push(`asked ${request.url()}`);
        });
    });
  });

  afterAll(async () => {
    await browser?.close();
    await api?.stop();
    if (profile) await rm(profile, { recursive: true, force: true });
  });

  test('log in, see the jobs of several shards, log out', async () => {
    const tenants = oneTenantPerShard();
    for (const [shard, tenant] of tenants.entries()) {
      for (let n = 0; n <= shard; n++) {
        const answer = await api.admin('POST', '/v1/jobs', {
          headers: { 'X-Tenant-Id': tenant },
          body: { task: 'echo', payload: { of: tenant } },
        });
        expect(answer.status).toBe(202);
      }
    }

    await page.goto(`${api.url}/dashboard`);
    expect(page.url()).toBe(`${api.url}/dashboard/login`);
    await page.getByLabel('Admin token').fill('not the token');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('That is not the admin token.').waitFor();

    await page.getByLabel('Admin token').fill(ADMIN_TOKEN);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL(`${api.url}/dashboard`);
    for (let shard = 0; shard < SHARDS; shard++) {
      await page
        .getByRole('link', { name: `default (shard ${shard})` })
        .first()
        .waitFor();
    }
    const screenshot = process.env['WAGGLE_SCREENSHOT'];
    if (screenshot !== undefined) await page.screenshot({ path: screenshot });

    for (const shard of [0, 3]) {
      await page
        .getByRole('link', { name: `default (shard ${shard})` })
        .first()
        .click();
      await page.getByText(`"${tenants[shard]}"`).first().waitFor();
      if (screenshot !== undefined)
        await page.screenshot({ path: screenshot.replace('.png', `-shard-${shard}.png`) });
    }

    await page.goto(`${api.url}/dashboard/logout`);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL(`${api.url}/dashboard/login`);
    await page.goto(`${api.url}/dashboard`);
    expect(page.url()).toBe(`${api.url}/dashboard/login`);
    expect(faults).toEqual([]);
  });
});

function oneTenantPerShard(): string[] {
  const tenants: string[] = [];
  for (let n = 0; tenants.filter(Boolean).length < SHARDS; n++)
    tenants[shardOf(`tenant-${n}`, SHARDS)] ??= `tenant-${n}`;
  return tenants;
}
