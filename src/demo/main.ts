import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WaggleClient } from '../client/index.ts';
import { startEmbeddedRedis } from './embedded-redis.ts';
import type { EmbeddedRedis } from './embedded-redis.ts';
import { ChildDied, explainEnding, Interrupted, listenForSignals, unlessAborted } from './ending.ts';
import { runFirstComeFirstServed } from './fcfs.ts';
import { quantity } from './figures.ts';
import { Platform, SHARDS, SLOTS_PER_WORKER, WORKERS } from './platform.ts';
import type { Child } from './processes.ts';
import { printComparison, whatNext, whileItStays } from './report.ts';
import { Screen } from './screen.ts';
import { FLOOD, playStory, SLEEP_MS, SMALL, SMALL_JOBS } from './story.ts';
import type { StoryOutcome } from './story.ts';

const USAGE = `Usage: npm run demo [-- --stay]
  --stay   keep everything running after the story, until Ctrl-C`;

/** Bounds after everything has started; they keep the story below a minute on a slow machine. */
const WATCH_MS = 22_000;
const SMALL_MS = 40_000;
const COMPARISON_MS = 48_000;

const STOP_REDIS_MS = 5000;
const REDIS_CHECK_MS = 500;

/** All that was started, in the order in which it is stopped from the end. */
interface Running {
  redis?: Promise<EmbeddedRedis>;
  redisCheck?: NodeJS.Timeout;
  platform?: Platform;
}

async function main(stay: boolean): Promise<number> {
  const life = new AbortController();
  const screen = terminalScreen(life);
  const running: Running = {};
  listenForSignals(life, () => running.platform?.kill());
  const logFolder = mkdtempSync(join(tmpdir(), `waggle-demo-${process.pid}-`));
  let exitCode = 0;
  try {
    await run(stay, screen, running, logFolder, life);
  } catch (error) {
    exitCode = await explainEnding(error, life.signal, screen, logFolder);
  }
  await stopAll(running);
  if (exitCode !== 1) rmSync(logFolder, { recursive: true, force: true });
  return exitCode;
}

async function run(
  stay: boolean,
  screen: Screen,
  running: Running,
  logFolder: string,
  life: AbortController,
): Promise<void> {
  const { signal } = life;
  screen.say('Waggle demo: many tenants share the same workers.', 'bold');
  running.redis = startEmbeddedRedis({ say: (line) => screen.say(line) });
  const redis = await unlessAborted(running.redis, signal);
  running.redisCheck = setInterval(() => checkRedis(redis, life), REDIS_CHECK_MS);
  const onDeath = (child: Child, how: string): void => life.abort(new ChildDied(child, how));
  const platform = await Platform.launch({ redisUrl: redis.url, logFolder, signal, onDeath });
  running.platform = platform;
  await platform.untilReady();
  screen.say(
    `Started: the API at ${platform.url}, ${WORKERS} workers with ${SLOTS_PER_WORKER} slots each, ${SHARDS} shards.`,
  );

  const startedAt = Date.now();
  const admin = new WaggleClient({ baseUrl: platform.url, token: platform.adminToken });
  const limits = { watchUntil: startedAt + WATCH_MS, smallUntil: startedAt + SMALL_MS };
  const outcome = await playStory({ admin, baseUrl: platform.url, screen, ...limits, signal });

  // Without workers on the side, the comparison has the machine for itself, as the story had.
  await platform.stopWorkers();
  await compare(outcome, screen, redis.port, startedAt + COMPARISON_MS, signal);

  if (!stay) return screen.say(whatNext(platform.url));
  await platform.restartWorkers();
  screen.say(whileItStays(platform, outcome.secrets, logFolder));
  await once(signal, 'abort');
  signal.throwIfAborted();
}

async function compare(
  { small, smallAfterMs }: StoryOutcome,
  screen: Screen,
  redisPort: number,
  endAt: number,
  signal: AbortSignal,
): Promise<void> {
  const slots = WORKERS * SLOTS_PER_WORKER;
  screen.say(
    `\nFor comparison: the same jobs at the same times on a stock BullMQ queue with ${slots} slots, measured now.`,
  );
  const progress = (done: number, total: number): string =>
    `  ${quantity(done)} of ${quantity(total)} jobs done`;
  const fcfs = await runFirstComeFirstServed({
    redisPort,
    workers: WORKERS,
    slotsPerWorker: SLOTS_PER_WORKER,
    sleepMs: SLEEP_MS,
    arrivals: [
      { tenant: FLOOD.tenant, jobs: FLOOD.jobs, afterMs: 0 },
      ...SMALL.map(({ tenant }) => ({ tenant, jobs: SMALL_JOBS, afterMs: smallAfterMs })),
    ],
    endAt,
    onProgress: (done, total) => screen.show([{ text: progress(done, total) }], () => progress(done, total)),
    signal,
  });
  printComparison(screen, { tenants: SMALL, fair: small, fcfs });
}

function terminalScreen(life: AbortController): Screen {
  const { stdout, env } = process;
  const isTerminal = stdout.isTTY && env.TERM !== 'dumb';
  // Whoever read our output is gone (head, a closed terminal); 141 is what SIGPIPE would have made of it.
  stdout.on('error', () => life.abort(new Interrupted(141)));
  return new Screen({
    write: (text) => void stdout.write(text),
    live: isTerminal && !env.CI,
    colour: isTerminal && !env.NO_COLOR,
    columns: () => stdout.columns || 80,
  });
}

async function stopAll({ redis, redisCheck, platform }: Running): Promise<void> {
  clearInterval(redisCheck);
  await platform?.stop();
  // One that is still being installed ends with this process; there is no point in waiting for it.
  await Promise.race([redis?.then((server) => server.stop()).catch(() => undefined), sleep(STOP_REDIS_MS)]);
}

function checkRedis(redis: EmbeddedRedis, life: AbortController): void {
  try {
    process.kill(redis.pid, 0);
  } catch {
    life.abort(new Error('the Redis server ended by itself'));
  }
}

const unknown = process.argv.slice(2).filter((argument) => argument !== '--stay');
if (unknown.length > 0) {
  const asked = unknown.every((argument) => argument === '--help' || argument === '-h');
  console.log(USAGE);
  process.exitCode = asked ? 0 : 2;
} else {
  process.exit(await main(process.argv.includes('--stay')));
}
