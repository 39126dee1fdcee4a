import { allDoneMs, duration, waitFigures } from './figures.ts';
import type { JobTimes } from './figures.ts';
import type { FcfsOutcome } from './fcfs.ts';
import type { Screen } from './screen.ts';
import { alignColumns } from './table.ts';

export interface Comparison {
  tenants: readonly { tenant: string; weight: number }[];
  fair: Map<string, JobTimes[]>;
  fcfs: FcfsOutcome;
}

export interface PlatformAccess {
  url: string;
  adminToken: string;
}

const HEADER = ['tenant', 'weight', 'p50', 'longest', 'all done', 'p50', 'longest', 'all done'];

/** Prints how long the small tenants waited, and how long on the stock queue. */
export function printComparison(screen: Screen, { tenants, fair, fcfs }: Comparison): void {
  const rows = tenants.map(({ tenant, weight }) => [
    tenant,
    String(weight),
    ...figureCells(fair.get(tenant) ?? [], ''),
    ...figureCells(fcfs.times.get(tenant) ?? [], fcfs.cutAt === undefined ? '' : '>'),
  ]);
  const [header = '', ...lines] = alignColumns([HEADER, ...rows]);
  const secondHalf = nthIndexOf(header, 'p50', 2) - 2;
  screen.say('\nHow long the small tenants waited', 'bold');
  screen.say(
    `${''.padEnd(header.indexOf('p50') - 2)}with Waggle`.padEnd(secondHalf) + 'first come, first served',
    'dim',
  );
  screen.say(header, 'bold');
  for (const line of lines) screen.say(line);

  const all = (times: Map<string, JobTimes[]>): JobTimes[] =>
    tenants.flatMap(({ tenant }) => times.get(tenant) ?? []);
  screen.say(`\nWith Waggle:              ${sentence(all(fair), '')}`, 'green');
  screen.say(
    `First come, first served: ${sentence(all(fcfs.times), fcfs.cutAt === undefined ? '' : 'more than ')}`,
    'yellow',
  );
}

function figureCells(times: JobTimes[], mark: string): string[] {
  const waits = waitFigures(times);
  return [waits?.p50Ms, waits?.maxMs, allDoneMs(times)].map((ms) => mark + duration(ms));
}

function sentence(times: JobTimes[], mark: string): string {
  const [p50, longest, allDone] = figureCells(times, mark);
  return `p50 ${p50}, longest wait ${longest}, all ${times.length} jobs done after ${allDone}.`;
}

function nthIndexOf(text: string, part: string, nth: number): number {
  let index = -1;
  for (let left = nth; left > 0; left -= 1) index = text.indexOf(part, index + 1);
  return index;
}

/** The last words of a demo that ends by itself. */
export function whatNext(url: string): string {
  return `
The dashboard was at ${url}/dashboard; everything is stopped now. What to type next:
  npm run demo -- --stay      the same, and then the API, the workers and the dashboard stay up
  README.md                   how to run Waggle on a Redis of yours, and the API with curl examples
With --stay you get a key for this:
  curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Prefer: wait=5' \\
    -d '{"task":"echo","payload":{"hello":"world"}}' http://127.0.0.1:<port>/v1/jobs`;
}

/** How to get at a demo that stays up. `secrets` are API keys by tenant. */
export function whileItStays(
  { url, adminToken }: PlatformAccess,
  secrets: Map<string, string>,
  logFolder: string,
): string {
  const [tenant, key] = [...secrets][0] ?? [];
  return `
Everything stays up until Ctrl-C.
  API           ${url}
  Dashboard     ${url}/dashboard (log in with the admin token)
  API document  ${url}/docs, ${url}/openapi.json
  Admin token   ${adminToken}
  Tenant key    ${key} (tenant ${tenant})
  Logs          ${logFolder}
Try:
  curl -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -H 'Prefer: wait=5' \\
    -d '{"task":"echo","payload":{"hello":"world"}}' ${url}/v1/jobs
  README.md has more.`;
}
