import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchResponse, Flow, FlowReceipt, FlowTree, Job, JobRequest } from '../shared/schemas.ts';
import type { ApiKey } from '../shared/tenant-schemas.ts';
import type { Client } from './client.ts';
import { allDoneMs, quantity } from './figures.ts';
import type { JobTimes } from './figures.ts';
import { countAll, ListFollower, SampleFollower } from './followers.ts';
import type { Follower, Standing } from './followers.ts';
import type { Screen } from './screen.ts';
import { SUMMARY_LEGEND, tenantSummary, tenantTable } from './table.ts';
import type { Row } from './table.ts';

/** How long each job of the story runs. */
export const SLEEP_MS = 40;
export const FLOOD = { tenant: 'megacorp', weight: 1, jobs: 5000 };
export const SMALL_JOBS = 50;
export const SMALL = [
  { tenant: 'bakery', weight: 1 },
  { tenant: 'clinic', weight: 3 },
  { tenant: 'garage', weight: 1 },
  { tenant: 'library', weight: 1 },
  { tenant: 'florist', weight: 1 },
];

const BATCH = 1000;
/** How long the flood has the workers for itself, from its first request on. */
const FLOOD_ALONE_MS = 3000;
const REFRESH_MS = 250;
const SAMPLE_EVERY = 25;
const FLOW_OWNER = 'bakery';
const FLOW_WAIT_SECONDS = 30;
const FLOW: FlowTree = {
  task: 'echo',
  name: 'report',
  payload: { report: 'ready' },
  children: ['orders', 'stock', 'staff'].map((name) => ({ task: 'sleep', name, payload: { ms: SLEEP_MS } })),
};

export interface StoryOptions {
  admin: Client;
  screen: Screen;
  /** When to stop watching the flood even if some of it still waits. Times in ms since the epoch. */
  watchUntil: number;
  /** When the small tenants must be done; it is a failure if they are not. */
  smallUntil: number;
  signal: AbortSignal;
}

export interface StoryOutcome {
  /** Each small tenant's jobs. */
  small: Map<string, JobTimes[]>;
  /** From the first request of the flood to the arrival of the small tenants. */
  smallAfterMs: number;
  /** API keys by tenant. */
  secrets: Map<string, string>;
}

interface Player {
  tenant: string;
  weight: number;
  client: Client;
  secret: string;
  follower?: Follower;
}

/**
 * Plays the story through the HTTP API and shows it: a flood, small tenants that arrive behind it, and a flow.
 *
 * @throws Error when something does not come out as promised; the reason of the signal
 */
export async function playStory(options: StoryOptions): Promise<StoryOutcome> {
  const { screen } = options;
  const [flood, ...small] = await Promise.all(
    [FLOOD, ...SMALL].map((tenant) => createPlayer(options.admin, tenant)),
  );
  const stage = new Stage(options, [flood!, ...small]);

  screen.say(
    `\n${FLOOD.tenant} sends ${quantity(FLOOD.jobs)} jobs of ${SLEEP_MS} ms and has the workers for itself.`,
  );
  screen.say(
    `Its jobs are sampled: every ${SAMPLE_EVERY}th is followed for the wait times, and single look-ups find the counts (~).`,
    'dim',
  );
  stage.explain();
  const beganAt = Date.now();
  const floodIds = await sendJobs(flood!, FLOOD.jobs);
  flood!.follower = new SampleFollower(flood!.client, floodIds, SAMPLE_EVERY);
  await stage.watch(beganAt + FLOOD_ALONE_MS, () => false);
  stage.settle();

  const names = small.map(({ tenant, weight }) => (weight === 1 ? tenant : `${tenant} (weight ${weight})`));
  screen.say(`\nNow five small tenants arrive behind it, with ${SMALL_JOBS} jobs each: ${names.join(', ')}.`);
  screen.say(`${FLOW_OWNER} adds a flow: a report that waits for its three parts.`);
  const smallAfterMs = Date.now() - beganAt;
  const flowOwner = small.find(({ tenant }) => tenant === FLOW_OWNER)!;
  const flowEnd = Promise.all(small.map(sendSmall)).then(() => runFlow(flowOwner.client));
  const [flow] = await Promise.all([
    flowEnd,
    stage.watch(options.smallUntil, (rows) => rows.length === stage.size && rows.every(isDone(small))),
  ]);
  stage.settle();
  const times = stage.timesOf(small);
  screen.say(`\nThe small tenants are done. ${describeFlow(flow)}`, 'green');

  screen.say(`The flood has the workers for itself again.`);
  await stage.watch(options.watchUntil, isDrained);
  const counted = await countAll(flood!.client, floodIds);
  stage.settle({ ...FLOOD, standing: counted });
  requireNoFailures(FLOOD.tenant, counted);
  screen.say(
    counted.done === FLOOD.jobs
      ? `\nThe flood is done too (all ${quantity(counted.done)} jobs counted).`
      : `\nTime is up for the flood: ${quantity(counted.done)} of ${quantity(FLOOD.jobs)} jobs are done.`,
  );
  return {
    small: times,
    smallAfterMs,
    secrets: new Map(small.map((one) => [one.tenant, one.secret])),
  };
}

/** What is watched and shown: the tenants that have sent something, in their order. */
class Stage {
  readonly #options: StoryOptions;
  readonly #players: readonly Player[];
  readonly #beganAt = Date.now();
  #rows: Row[] = [];

  constructor(options: StoryOptions, players: readonly Player[]) {
    this.#options = options;
    this.#players = players;
  }

  get size(): number {
    return this.#players.length;
  }

  explain(): void {
    this.#options.screen.show([], () => SUMMARY_LEGEND);
  }

  /** Looks and shows until `enough` or the time `until` has come. */
  async watch(until: number, enough: (rows: readonly Row[]) => boolean): Promise<void> {
    const { screen, signal } = this.#options;
    for (;;) {
      this.#rows = await this.#look();
      screen.show(tenantTable(this.#rows), () => tenantSummary(this.#rows, Date.now() - this.#beganAt));
      if (enough(this.#rows) || Date.now() >= until) return;
      await sleep(REFRESH_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  /** Leaves the table as it is now; `known` replaces the row of its tenant. */
  settle(known?: Row): void {
    const rows = this.#rows.map((row) => (row.tenant === known?.tenant ? known : row));
    this.#options.screen.settle(tenantTable(rows));
  }

  /** @throws Error when one of them is not done */
  timesOf(players: readonly Player[]): Map<string, JobTimes[]> {
    return new Map(
      players.map(({ tenant }) => {
        const times = this.#rows.find((row) => row.tenant === tenant)?.standing.times ?? [];
        if (allDoneMs(times) === undefined) throw new Error(`The jobs of ${tenant} did not finish in time.`);
        return [tenant, times];
      }),
    );
  }

  async #look(): Promise<Row[]> {
    const rows = await Promise.all(
      this.#players.map(async ({ tenant, weight, follower }) => {
        const standing = await follower?.look();
        if (standing) requireNoFailures(tenant, standing);
        return standing ? [{ tenant, weight, standing }] : [];
      }),
    );
    return rows.flat();
  }
}

async function createPlayer(
  admin: Client,
  { tenant, weight }: { tenant: string; weight: number },
): Promise<Player> {
  await admin.put(`/v1/tenants/${tenant}`, { weight });
  const { secret } = await admin.post<ApiKey>(`/v1/tenants/${tenant}/keys`, {
    scopes: ['jobs:read', 'jobs:write'],
  });
  return { tenant, weight, secret, client: admin.as(secret) };
}

async function sendSmall(player: Player): Promise<void> {
  player.follower = new ListFollower(player.client, await sendJobs(player, SMALL_JOBS));
}

async function sendJobs({ tenant, client }: Player, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const jobs: JobRequest[] = Array.from({ length: Math.min(BATCH, count - ids.length) }, () => ({
      task: 'sleep',
      payload: { ms: SLEEP_MS },
    }));
    const { results } = await client.post<BatchResponse>('/v1/jobs/batch', { jobs });
    for (const result of results) {
      if ('problem' in result) throw new Error(`A job of ${tenant} was refused: ${result.problem.detail}`);
      ids.push(result.id);
    }
  }
  return ids;
}

/** Enqueues the flow and holds the line until its root has finished. */
async function runFlow(client: Client): Promise<Flow> {
  const { id } = await client.post<FlowReceipt>('/v1/flows', { tree: FLOW });
  await client.get<Job>(`/v1/jobs/${id}?wait=${FLOW_WAIT_SECONDS}`);
  const flow = await client.get<Flow>(`/v1/flows/${id}`);
  if (flow.state !== 'completed') throw new Error(`The flow of ${FLOW_OWNER} is ${flow.state}.`);
  return flow;
}

function describeFlow({ nodes, result }: Flow): string {
  const names = nodes.filter((node) => node.parents.length > 0).map((node) => node.name);
  return `The flow ended after ${names.join(', ')} with ${JSON.stringify(result)}.`;
}

function isDone(players: readonly Player[]): (row: Row) => boolean {
  const names = new Set(players.map(({ tenant }) => tenant));
  return ({ tenant, standing }) => !names.has(tenant) || standing.waiting + standing.running === 0;
}

function isDrained(rows: readonly Row[]): boolean {
  return rows.every(({ standing }) => standing.waiting + standing.running === 0);
}

function requireNoFailures(tenant: string, { failed }: Standing): void {
  if (failed > 0) throw new Error(`${failed} jobs of ${tenant} failed.`);
}
