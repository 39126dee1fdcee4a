import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { isBrowserInstalled, openBrowser } from '../support/browser.ts';
import type { Browser } from '../support/browser.ts';
import { freshRedisUrl } from '../support/redis.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
});
afterAll(() => api.stop());

test('the page may load nothing but files of this server; browsers keep them, and ask for the page each time', async () => {
  const page = await api.call('GET', '/docs');
  expect([page.status, page.headers['cache-control']]).toEqual([200, 'no-cache']);
  const policy = String(page.headers['content-security-policy']);
  expect(policy).toContain("default-src 'none'");
  for (const unsafe of ['unsafe', 'http', '*', 'blob']) expect(policy).not.toContain(unsafe);
  const files = [...page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1] ?? '');
  expect(files.length).toBe(3);
  for (const file of files) {
    const answer = await api.call('GET', file);
    expect([file, answer.status, answer.headers['x-content-type-options']]).toEqual([file, 200, 'nosniff']);
    const kept = file.endsWith('/start.js') ? 'no-cache' : 'public, max-age=31536000, immutable';
    expect([file, answer.headers['cache-control']]).toEqual([file, kept]);
  }
  for (const path of ['/docs/index.html', `${files[0]}.map`, '/docs/package.json'])
    expect((await api.call('GET', path)).status).toBe(404);
});

(isBrowserInstalled() ? describe : describe.skip)('the page in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser(api.url);
  });
  afterAll(() => browser?.close());

  test('shows every operation, and calls one', async () => {
    const { page } = browser;
    await page.goto(`${api.url}/docs`);
    const { paths } = (await api.call('GET', '/openapi.json')).json as { paths: Record<string, object> };
    const count = Object.values(paths).flatMap((methods) => Object.keys(methods)).length;
    await page
      .locator('.opblock')
      .nth(count - 1)
      .waitFor();
    expect(await page.locator('.opblock').count()).toBe(count);
    expect(await page.getByText('enqueueJob', { exact: true }).count()).toBe(1);
    await tryOut(page, 'livez');
    expect({ faults: browser.faults, complaints: browser.complaints }).toEqual({
      faults: [],
      complaints: [],
    });
  });
});

async function tryOut(page: Page, operationId: string): Promise<void> {
  const operation = page.locator('.opblock', { hasText: operationId });
  await operation.locator('.opblock-summary').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  await operation.getByRole('button', { name: 'Execute' }).click();
  await operation.locator('.live-responses-table').getByText('200').first().waitFor();
  const screenshot = process.env['WAGGLE_SCREENSHOT'];
  if (screenshot !== undefined) await page.screenshot({ path: screenshot });
}
