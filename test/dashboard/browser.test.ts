import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { shardOf } from '../../queues/topology/shard-of.ts';
import type { Page } from 'playwright-core';
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

    await logIn(page);
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

    await logOut(page);
    await page.waitForURL(`${api.url}/dashboard/login`);
    await page.goto(`${api.url}/dashboard`);
    expect(page.url()).toBe(`${api.url}/dashboard/login`);
    expect(browser.faults).toEqual([]);
  });

  test('go from the board to a tenant, pause it, see it paused, resume it, look at a job of it', async () => {
    const { page } = browser;
    const tag = '<script>alert(1)</script>';
    await api.admin('PUT', '/v1/tenants/held', { body: { weight: 3, maxRunning: 20 } });
    const job = await api.admin('POST', '/v1/jobs', {
      headers: { 'X-Tenant-Id': 'held' },
      body: { task: 'echo', payload: { of: 'held' }, tags: [tag] },
    });
    const earlier = browser.complaints.length;

    await page.goto(`${api.url}/dashboard/login`);
    await logIn(page);
    // The board's menu has a picture and no name.
    await page.locator('header').locator('button[aria-haspopup="menu"]').last().click();
    await page.getByRole('menuitem', { name: 'Tenants' }).click();
    await page.waitForURL(`${api.url}/dashboard/tenants`);
    expect(await page.title()).toBe('Tenants · Waggle');
    await page.getByRole('row', { name: /^held no 1 0 / }).waitFor();
    await page.getByLabel('Id, or the beginning of one').fill('held');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.waitForURL(`${api.url}/dashboard/tenants/held`);
    await page.getByText(tag).waitFor();

    await page.getByLabel('Start none of its jobs').selectOption('1 hour');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused: until 2').waitFor();
    await page.getByRole('row', { name: 'tenant_paused 1' }).waitFor();
    expect((await api.admin('GET', '/v1/tenants/held')).json.paused).toBe(true);
    const screenshot = process.env['WAGGLE_SCREENSHOT'];
    if (screenshot !== undefined) await screenshotsOf(page, screenshot);

    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText('Paused: no').waitFor();
    expect((await api.admin('GET', '/v1/tenants/held')).json.paused).toBe(false);
    await page.getByRole('link', { name: job.json.id }).click();
    await page.getByText('"held"').first().waitFor();
    await page.goBack();
    await page.getByRole('link', { name: 'Queues' }).click();
    await page.waitForURL(`${api.url}/dashboard`);
    await logOut(page);
    // The board's own page names a host of fonts, which the policy leaves unasked.
    const complaints = browser.complaints.slice(earlier).filter((text) => !text.includes('fonts.googleapis'));
    expect({ faults: browser.faults, complaints }).toEqual({ faults: [], complaints: [] });
  });

  async function logIn(page: Page): Promise<void> {
    await page.getByLabel('Admin token').fill(ADMIN_TOKEN);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL(`${api.url}/dashboard`);
  }

  async function logOut(page: Page): Promise<void> {
    await page.goto(`${api.url}/dashboard/logout`);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL(`${api.url}/dashboard/login`);
  }
});

function oneTenantPerShard(): string[] {
  const tenants: string[] = [];
  for (let n = 0; tenants.filter(Boolean).length < SHARDS; n++)
    tenants[shardOf(`tenant-${n}`, SHARDS)] ??= `tenant-${n}`;
  return tenants;
}

/** Light, dark, and the list. */
async function screenshotsOf(page: Page, path: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: path.replace('.png', `-tenant-${colorScheme}.png`), fullPage: true });
  }
  await page.getByRole('link', { name: 'Tenants' }).click();
  await page.getByRole('heading', { name: 'Configured tenants' }).waitFor();
  await page.screenshot({ path: path.replace('.png', '-tenants.png'), fullPage: true });
  await page.goBack();
}
