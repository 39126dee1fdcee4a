import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { fairScripts, stockScripts } from '../queues/fair/scripts.ts';
import { fillYardstick, runYardstick, yardstick } from './yardstick.ts';
import { percentile } from './harness.ts';
import type { Bench } from './harness.ts';
import { connectTo, monotonicMs } from './workload.ts';

/** How long the calls of one script kept the server, in ms. */
export interface ScriptTimes {
  script: string;
  calls: number;
  p50: number;
  p99: number;
  max: number;
  /** Calls that took longer than asked for. */
  over: number;
}

/** What was seen while something ran. */
export interface Recording {
  scripts: ScriptTimes[];
  /** How long another client had to wait for its PING, in ms; scheduling of the processes is in it. */
  ping: { p99: number; max: number };
}

type Entry = [id: number, at: number, micros: number, command: string[]];

/** Scripts take longer than this, nearly all the commands inside them less. */
const FROM_MICROS = 20;
const PING_EVERY_MS = 1;

/** Loads every script of both backends, as on a server that has been in use; none is compiled while it is measured. */
export async function loadAllScripts(redis: Redis): Promise<Map<string, string>> {
  const names = new Map<string, string>([[yardstick.sha, yardstick.name]]);
  for (const { name, content } of [
    ...stockScripts().values(),
    ...fairScripts({ unprioritized: 'first', listsFailed: false }),
  ]) {
    names.set(createHash('sha1').update(content).digest('hex'), name);
    names.set(String(Buffer.byteLength(content)), `${name} (sent whole)`);
    await redis.script('LOAD', content);
  }
  await fillYardstick(redis);
  return names;
}

/** Records how long the server was kept by each script while `body` runs, from the server's slow log. */
export async function record(
  { redis, port }: Bench,
  names: Map<string, string>,
  targetMs: number,
  body: () => Promise<unknown>,
): Promise<Recording> {
  await redis.config('SET', 'slowlog-max-len', 5_000_000);
  await redis.config('SET', 'slowlog-log-slower-than', FROM_MICROS);
  await redis.slowlog('RESET');
  const pings = await pingUntilStopped(port);
  const steps = runYardstick(port);
  try {
    await body();
  } finally {
    await steps.stop();
    await redis.config('SET', 'slowlog-log-slower-than', -1);
    await pings.stop();
  }
  const entries = (await redis.slowlog('GET', -1)) as Entry[];
  await redis.slowlog('RESET');
  return {
    scripts: timesByScript(entries, names, targetMs),
    ping: { p99: percentile(pings.waits, 99), max: Math.max(...pings.waits) },
  };
}

async function pingUntilStopped(port: number): Promise<{ waits: number[]; stop: () => Promise<void> }> {
  const client = connectTo(port);
  await client.ping();
  const waits: number[] = [];
  let stopped = false;
  const loop = async (): Promise<void> => {
    do {
      const sentAt = monotonicMs();
      await client.ping();
      waits.push(monotonicMs() - sentAt);
      await pause(PING_EVERY_MS);
    } while (!stopped);
  };
  const ended = loop();
  return {
    waits,
    stop: async () => {
      stopped = true;
      await ended;
      client.disconnect();
    },
  };
}

function timesByScript(entries: Entry[], names: Map<string, string>, targetMs: number): ScriptTimes[] {
  const times = new Map<string, number[]>();
  for (const [, , micros, [command = '', text = '']] of entries) {
    if (!/^eval/i.test(command)) continue;
    const script = names.get(idOf(text)) ?? `${command} of an unknown script`;
    const sofar = times.get(script) ?? [];
    sofar.push(micros / 1_000);
    times.set(script, sofar);
  }
  return [...times]
    .map(([script, ms]) => ({
      script,
      calls: ms.length,
      p50: percentile(ms, 50),
      p99: percentile(ms, 99),
      max: percentile(ms, 100),
      over: ms.filter((each) => each > targetMs).length,
    }))
    .sort((one, other) => other.max - one.max);
}

/** A script's hash or, as the log cuts long arguments, its length: on a connection's first call clients send the text. */
function idOf(text: string): string {
  const [end, cut] = /\.\.\. \((\d+) more bytes\)$/.exec(text) ?? [];
  return end === undefined ? text : String(Buffer.byteLength(text) - end.length + Number(cut));
}
