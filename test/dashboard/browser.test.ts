import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { shardOf } from '../../queues/topology/shard-of.ts';
import { ADMIN_TOKEN, startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { isBrowserInstalled, openBrowser } from '../support/browser.ts';
import type { Browser } from '../support/browser.ts';
import { freshRedisUrl } from '../support/redis.ts';

const SHARDS = 4;

(isBrowserInstalled() ? describe : describe.skip)('the dashboard in a browser', () => {
  let api: Api;
  let browser: Browser;

  beforeAll(async () => {
    api = await startApi(await freshRedisUrl(), { WAGGLE_SHARDS: String(SHARDS) });
    browser = await openBrowser(api.url);
  });

  afterAll(async () => {
    await browser?.close();
    await api?.stop();
  });

  test('log in, see the jobs of several shards, log out', async () => {
    const { page } = browser;
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
    expect(browser.faults).toEqual([]);
  });
});

function oneTenantPerShard(): string[] {
  const tenants: string[] = [];
  for (let n = 0; tenants.filter(Boolean).length < SHARDS; n++)
    tenants[shardOf(`tenant-${n}`, SHARDS)] ??= `tenant-${n}`;
  return tenants;
}
