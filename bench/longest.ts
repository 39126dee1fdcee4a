/** How long a single script keeps the server, in the situations where that may be long: see README.md. */
import { machineHeader, number, printSection, table, withRedis } from './harness.ts';
import { choices, count, flag, readOptions } from './options.ts';
import { processorTimeEnv } from './processor-time.ts';
import { QUEUE, SITUATIONS } from './situations.ts';
import { loadAllScripts, record } from './slowlog.ts';
import type { Recording, ScriptTimes } from './slowlog.ts';
import { openQueue } from './workload.ts';
import type { BackendName } from './workload.ts';
import { yardstick } from './yardstick.ts';

const names = SITUATIONS.map(({ name }) => name);
const options = readOptions('longest', {
  situations: choices(names, names, 'situations'),
  percent: count(100, 'of the full sizes'),
  runs: count(1, 'runs of each situation'),
  bare: flag('leave the machine out of the output'),
});

/** No script is to keep the server for longer. */
const TARGET_MS = 5;
/** Scripts with shorter calls only are left out. */
const WORTH_TELLING_MS = 0.5;

interface Finding extends Recording {
  situation: string;
  what: string;
  backend: BackendName;
}

const findings: Finding[] = [];
const processorTime = processorTimeEnv();
const header = options.bare ? null : await machineHeader();
for (let run = 1; run <= options.runs; run++) {
  for (const situation of SITUATIONS.filter(({ name }) => options.situations.includes(name))) {
    for (const backend of situation.backends) {
      console.error(`longest, ${situation.name}: ${backend}, run ${run} of ${options.runs}`);
      await withRedis(async (bench) => {
        const scripts = await loadAllScripts(bench.redis);
        const queue = openQueue(QUEUE, backend, bench.port);
        try {
          await situation.run({
            bench,
            backend,
            queue,
            share: options.percent / 100,
            record: async (what, body) => {
              console.error(`  ${what}`);
              const recording = await record(bench, scripts, TARGET_MS, body);
              findings.push({ situation: situation.name, what, backend, ...recording });
            },
          });
        } finally {
          await queue.close();
        }
      }, processorTime ?? {});
    }
  }
}

const ms = (value: number): string => number(value, 2);
const rows = findings.flatMap(({ situation, what, backend, scripts, ping }) => {
  const first = [situation, what, backend];
  const told = scripts.filter(({ max }, index) => index === 0 || max >= WORTH_TELLING_MS);
  return told.map(({ script, calls, p50, p99, max, over }, index) => [
    ...(index === 0 ? first : ['', '', '']),
    script,
    number(calls),
    ...[p50, p99, max].map(ms),
    number(over),
    ...(index === 0 ? [ping.p99, ping.max].map(ms) : ['', '']),
  ]);
});
const isYardstick = ({ script }: ScriptTimes): boolean => script === yardstick.name;
const ofFair = findings.filter(({ backend }) => backend === 'fair').flatMap(({ scripts }) => scripts);
await printSection('The longest scripts', header, [
  `${options.percent} % of the full sizes; ${options.runs} runs; every script of both backends loaded; times in ms. ` +
    (processorTime
      ? 'Scripts: processor time of the server.'
      : 'Scripts: wall time, as there is no C compiler; whatever puts the server aside counts as the script.'),
  table(
    [
      'situation',
      'asked',
      'backend',
      'script',
      'calls',
      'p50',
      'p99',
      'max',
      `over ${TARGET_MS}`,
      'ping p99',
      'ping max',
    ],
    rows,
  ),
  `Longer than ${TARGET_MS} ms, while the fair backend ran: of its scripts ${overOf(ofFair.filter((each) => !isYardstick(each)))}, ` +
    `of a script of a fixed number of steps (the yardstick) ${overOf(ofFair.filter(isYardstick))}.`,
]);

function overOf(scripts: readonly ScriptTimes[]): string {
  const sum = (count: (script: ScriptTimes) => number): number =>
    scripts.reduce((total, script) => total + count(script), 0);
  return `${number(sum(({ over }) => over))} of ${number(sum(({ calls }) => calls))} calls`;
}
