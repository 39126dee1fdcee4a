import { setTimeout as sleep } from 'node:timers/promises';
import { WaggleClient } from '../client/index.ts';
import type { CallOptions, FlowTreeInput } from '../client/index.ts';
import type { Flow } from '../shared/schemas.ts';
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

/** How long the flood has the workers for itself, from its first request on. */
const FLOOD_ALONE_MS = 3000;
const REFRESH_MS = 250;
const SAMPLE_EVERY = 25;
const FLOW_OWNER = 'bakery';
const FLOW_WAIT_MS = 30_000;
const FLOW: FlowTreeInput = {
  task: 'echo',
  name: 'report',
  payload: { report: 'ready' },
  children: ['orders', 'stock', 'staff'].map((name) => ({ task: 'sleep', name, payload: { ms: SLEEP_MS } })),
};

export interface StoryOptions {
  admin: WaggleClient;
  /** Where the API is, for tenants with keys of their own. */
  baseUrl: string;
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
  client: WaggleClient;
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
    [FLOOD, ...SMALL].map((tenant) => createPlayer(options, tenant)),
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
  const floodIds = await sendJobs(flood!, FLOOD.jobs, options);
  flood!.follower = new SampleFollower(flood!.client, floodIds, SAMPLE_EVERY, options);
  await stage.watch(beganAt + FLOOD_ALONE_MS, () => false);
  stage.settle();

  const names = small.map(({ tenant, weight }) => (weight === 1 ? tenant : `${tenant} (weight ${weight})`));
  screen.say(`\nNow five small tenants arrive behind it, with ${SMALL_JOBS} jobs each: ${names.join(', ')}.`);
  screen.say(`${FLOW_OWNER} adds a flow: a report that waits for its three parts.`);
  const smallAfterMs = Date.now() - beganAt;
  const flowOwner = small.find(({ tenant }) => tenant === FLOW_OWNER)!;
  const flowEnd = Promise.all(small.map((one) => sendSmall(one, options))).then(() =>
    runFlow(flowOwner.client, options),
  );
  const [flow] = await Promise.all([
    flowEnd,
    stage.watch(options.smallUntil, (rows) => rows.length === stage.size && rows.every(isDone(small))),
  ]);
  stage.settle();
  const times = stage.timesOf(small);
  screen.say(`\nThe small tenants are done. ${describeFlow(flow)}`, 'green');

  screen.say(`The flood has the workers for itself again.`);
  await stage.watch(options.watchUntil, isDrained);
  const counted = await countAll(flood!.client, floodIds, options);
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
  { admin, baseUrl, signal }: StoryOptions,
  { tenant, weight }: { tenant: string; weight: number },
): Promise<Player> {
  await admin.tenants.put(tenant, { weight }, { signal });
  const { secret } = await admin.keys.create(tenant, { scopes: ['jobs:read', 'jobs:write'] }, { signal });
  return { tenant, weight, secret, client: new WaggleClient({ baseUrl, token: secret }) };
}

async function sendSmall(player: Player, options: CallOptions): Promise<void> {
  const ids = await sendJobs(player, SMALL_JOBS, options);
  player.follower = new ListFollower(player.client, ids, options);
}

async function sendJobs({ tenant, client }: Player, count: number, options: CallOptions): Promise<string[]> {
  const jobs = Array.from({ length: count }, () => ({ task: 'sleep', payload: { ms: SLEEP_MS } }));
  const ids: string[] = [];
  for await (const outcome of client.jobs.batchLines(jobs, options)) {
    if ('problem' in outcome) throw new Error(`A job of ${tenant} was refused: ${outcome.problem.detail}`);
    ids.push(outcome.id);
  }
  return ids;
}

/** Enqueues the flow and waits until it has ended. */
async function runFlow({ flows }: WaggleClient, { signal }: CallOptions): Promise<Flow> {
  const { id } = await flows.create({ tree: FLOW }, { signal });
  const flow = await flows.waitFor(id, { signal, timeoutMs: FLOW_WAIT_MS });
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
