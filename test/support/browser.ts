import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Page } from 'playwright-core';

const CHROMIUM = '/usr/bin/chromium';
const QUIET = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
/** No claim: a browser on a machine with a lot to do is slow. */
const WAIT_MS = 90_000;

export interface Browser {
  readonly page: Page;
  /** What went wrong on the page: errors, and answers of anybody but the server. */
  readonly faults: string[];
  /** What the page wrote to its console as an error; what its policy forbids is among it. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** Whether there is a browser to test with; says so when there is none. */
export function isBrowserInstalled(): boolean {
  if (existsSync(CHROMIUM)) return true;
  process.stderr.write(`Pages are not tested in a browser: there is no ${CHROMIUM}.\n`);
  return false;
}

/** A browser with an empty page, for the pages of one server. */
export async function openBrowser(origin: string): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), 'waggle-chromium-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', ...QUIET],
    viewport: { width: 1400, height: 900 },
    timeout: WAIT_MS,
  });
  browser.setDefaultTimeout(WAIT_MS);
  const page = await browser.newPage();
  const faults: string[] = [];
  const complaints: string[] = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('request', (request) => {
    // The policy of the page must keep the browser from asking anyone else.
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:') && !request.failure())
      void request.response().then((response) => {
        if (response !== null) faults.push(`asked ${request.url()}`);
      });
  });
  return {
    page,
    faults,
    complaints,
    async close() {
      await browser.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
