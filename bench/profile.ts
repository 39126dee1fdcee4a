/** Where the time goes, in the server and in the clients: see README.md. */
import type { Profiler } from 'node:inspector';
import { BenchProcess } from './child-process.ts';
import { Drain } from './draining.ts';
import { machineHeader, number, printSection, table, withRedis } from './harness.ts';
import type { Bench } from './harness.ts';
import { count, flag, readOptions } from './options.ts';
import { byKind, sampleServer } from './perf.ts';
import type { Share } from './perf.ts';
import type { ProducerConfig } from './producer-process.ts';
import { BACKENDS, openQueue, setWideLimits } from './workload.ts';
import type { BackendName } from './workload.ts';

const options = readOptions('profile', {
  jobs: count(150_000, 'jobs added one by one, and drained'),
  tenants: count(100, 'tenants'),
  processes: count(2, 'worker processes'),
  limits: flag('every group has limits, which never hold it'),
  keys: count(0, 'keys per tenant, one of which each job has; 0 for jobs without', 0),
  top: count(25, 'functions of each profile'),
  noPerf: flag('without the server, where perf is not to be had'),
  bare: flag('leave the machine out of the output'),
});

/** What one phase (adding or draining) spent where. */
interface Phase {
  server: Share[];
  /** Per job: calls of each command and time in it, scripts apart from the commands they call. */
  commands: { name: string; calls: number; micros: number }[];
  client: Share[];
  perSecond: number;
}

const QUEUE = 'bench';

async function measure(bench: Bench, backend: BackendName): Promise<Record<'add' | 'drain', Phase>> {
  const { port } = bench;
  const shape = { backend, port, queue: QUEUE };
  const { jobs, tenants, keys } = options;
  const workload = { jobs, tenants, order: 'round-robin' as const, keys };
  const producer = new BenchProcess('./producer-process.ts', {
    ...shape,
    workload,
    chunk: 1_000,
    inFlight: 100,
  } satisfies ProducerConfig);
  const drain = new Drain(options.processes, {
    ...shape,
    concurrency: 100,
    keep: false,
    sleepMs: 0,
    trace: false,
  });
  const queue = openQueue(QUEUE, backend, port);
  try {
    if (options.limits && backend === 'fair') await setWideLimits(queue);
    await producer.call('warmUp');
    const add = await profiled(
      bench,
      (call) => producer.call(call),
      () => producer.call('addSingly'),
    );
    await drain.prepare();
    const drained = await profiled(
      bench,
      async (call) => (await drain.callAll<Profiler.Profile>(call))[0] as Profiler.Profile,
      () => drain.run(options.jobs),
    );
    return { add, drain: drained };
  } finally {
    await Promise.all([producer.stop(), drain.stop(), queue.close()]);
  }
}

async function profiled(
  bench: Bench,
  client: (call: string) => Promise<Profiler.Profile>,
  body: () => Promise<{ elapsedMs: number }>,
): Promise<Phase> {
  await client('startProfile');
  await bench.redis.config('RESETSTAT');
  const server = options.noPerf ? () => Promise.resolve([]) : await sampleServer(bench.pid);
  const { elapsedMs } = await body();
  const commands = commandsOf(await bench.redis.info('commandstats'));
  return {
    server: await server(),
    commands,
    client: selfTimes(await client('takeProfile')),
    perSecond: (options.jobs / elapsedMs) * 1_000,
  };
}

function commandsOf(stats: string): Phase['commands'] {
  return [...stats.matchAll(/^cmdstat_(\S+?):calls=(\d+),usec=(\d+)/gm)]
    .map(([, name, calls, micros]) => ({
      name: String(name),
      calls: Number(calls) / options.jobs,
      micros: Number(micros) / options.jobs,
    }))
    .sort((one, other) => other.micros - one.micros)
    .filter(({ micros }) => micros >= 0.05);
}

/** Time in each function itself, as a share of the time in which the process was not idle. */
function selfTimes({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Share[] {
  const nameById = new Map(nodes.map((node) => [node.id, nameOf(node.callFrame)]));
  const byName = new Map<string, number>();
  let busy = 0;
  samples.forEach((id, index) => {
    const name = nameById.get(id) ?? '';
    const micros = timeDeltas[index] ?? 0;
    if (name === '(idle)' || name === '(program)') return;
    busy += micros;
    byName.set(name, (byName.get(name) ?? 0) + micros);
  });
  return [...byName]
    .map(([name, micros]) => ({ name, percent: (100 * micros) / busy }))
    .sort((one, other) => other.percent - one.percent);
}

function nameOf({ functionName, url, lineNumber }: Profiler.ProfileNode['callFrame']): string {
  const place = url.split('/').slice(-3).join('/');
  return place === '' ? functionName : `${functionName || 'anonymous'} (${place}:${lineNumber + 1})`;
}

const topOf = (shares: Share[]): string[][] =>
  shares.slice(0, options.top).map(({ name, percent }) => [name.replaceAll('|', '/'), percent.toFixed(1)]);

function phaseParts(title: string, { server, commands, client, perSecond }: Phase): string[] {
  const rows = commands.map(({ name, calls, micros }) => [name, number(calls, 2), number(micros, 2)]);
  return [
    `### ${title}: ${number(perSecond)} jobs/s under the profilers`,
    table(['command', 'calls per job', 'us per job'], rows),
    table(['server, by kind', '%'], topOf(byKind(server))),
    table(['server, self time', '%'], topOf(server)),
    table(['client process, self time', '%'], topOf(client)),
  ];
}

const header = options.bare ? null : await machineHeader();
const parts: string[] = [];
for (const backend of BACKENDS) {
  console.error(`profile: ${backend}`);
  const { add, drain } = await withRedis((bench) => measure(bench, backend));
  parts.push(...phaseParts(`${backend}, single adds`, add), ...phaseParts(`${backend}, drain`, drain));
}
await printSection('Profile', header, [
  `${number(options.jobs)} no-op jobs of ${number(options.tenants)} tenants; ${options.processes} worker processes.`,
  ...parts,
]);
