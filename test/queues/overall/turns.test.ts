import { afterEach, expect, test } from '@jest/globals';
import { Shares } from '../../../queues/overall/shares.ts';
import { openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

const DAY_MS = 86_400_000;
const BURST = 7;
let engines: TestEngine[] = [];

afterEach(async () => {
  await Promise.all(engines.map((engine) => engine.close()));
  engines = [];
});

/** The tokens that all shards together have of each task's rate. */
async function tokens({ topology }: TestEngine): Promise<Map<string, number>> {
  const sums = new Map<string, number>();
  for (let shard = 0; shard < topology.shards; shard += 1) {
    for (const gate of (await topology.queue(shard, 'default').getBackend().changeGates()) ?? [])
      sums.set(gate.name, (sums.get(gate.name) ?? 0) + gate.tokens);
  }
  return sums;
}

test('every rate begins with all its tokens, also when others take over while it is set', async () => {
  const first = await openTestEngine();
  const second = await openTestEngine({ redisUrl: first.redisUrl, keyPrefix: first.keyPrefix });
  engines = [first, second];
  // None comes back meanwhile.
  const rate = { limit: 1, periodMs: DAY_MS, burst: BURST };
  const names = Array.from({ length: 25 }, (_, number) => `task-${number}`).sort();
  let isSetting = true;
  const takingOver = (async () => {
    while (isSetting) await second.overall.balance(await second.overall.takeOver(), new Shares());
  })();
  for (const name of names) await first.overall.tasks.put(name, { rate });
  isSetting = false;
  await takingOver;
  const sums = await tokens(first);
  expect([...sums.keys()].sort()).toEqual(names);
  for (const [name, sum] of sums) expect([name, sum]).toEqual([name, expect.closeTo(BURST, 2)]);
});
