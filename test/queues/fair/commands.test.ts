import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import type { BackendFactory, IRedisClient } from 'bullmq';
import { createFairBackend } from '../../../queues/fair/index.ts';
import type { FairQueueBackend } from '../../../queues/fair/index.ts';
import { fairScripts, stockScripts } from '../../../queues/fair/scripts.ts';
import { inLab, withoutLean } from './bullmq-lab.ts';
import { adding } from './cases/adding.ts';
import { flows } from './cases/flows.ts';
import { keeping } from './cases/keeping.ts';
import { running } from './cases/running.ts';
import { VIRTUAL_COMMANDS, VIRTUAL_EXPRESSIONS } from './frozen-commands.ts';

const projectFile = (path: string): string =>
  readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

const UPGRADE =
  'BullMQ issues other commands on its waiting jobs than the fair backend was written for: ' +
  'look at each new one, serve it in queues/fair/lua/virtual/wait.lua, then freeze the new list';

/** Expressions that can never name a wait list or the set of prioritized jobs; all others might. */
const NEVER_VIRTUAL =
  /job(Id)?Key|lock|events|eventStream|meta|marker|active|dedup|parent(Key|Dep|Wait|Fail|Un|Prefix|Queue)|delayedK|repeat|scheduler|stalled|limiter|metrics|dataKey|dataPoints|Counter|idKey|processed|ignored|failed|completed|unprocessed|Children|"(id|paused|delayed|de:|dn:)|producer|^KEYS\[(?!1|2\]|3|4|5|8)/i;

/** `COMMAND expression` for every call of a stock script whose key might be virtual, comments left out. */
function possibleCalls(): string[] {
  const calls = new Set<string>();
  for (const script of stockScripts().values()) {
    if (script.name.startsWith('relay')) continue;
    const code = script.content.replace(/--\[\[[^]*?\]\]/g, '').replace(/--.*$/gm, '');
    for (const [, command, key] of code.matchAll(
      /(?:rcall|redis\.p?call)\(\s*["']?(\w+)["']?\s*,\s*([^,)]+)/g,
    )) {
      const expression = (key ?? '').trim();
      if (!NEVER_VIRTUAL.test(expression)) calls.add(`${command} ${expression}`);
    }
  }
  return [...calls].sort();
}

/** Stock BullMQ whose scripts note every command on a waiting list in the set `recorded`. */
function recorder(recorded: string): BackendFactory<FairQueueBackend> {
  const scripts = new Map(
    [...stockScripts().values()].map((script) => [
      script.name,
      {
        keys: script.keys,
        lua: `local true_call = redis.call
local function noted(command, key, ...)
  local kind = type(key) == 'string' and string.match(key, ':(wait)$') or type(key) == 'string' and string.match(key, ':(prioritized)$')
  if kind then true_call('SADD', '${recorded}', kind .. ' ' .. command) end
  local other = ...
  if command == 'RENAME' then true_call('SADD', '${recorded}', 'to ' .. string.match(other, '[^:]*$') .. ' RENAME') end
  return true_call(command, key, ...)
end
local redis = { call = noted, pcall = redis.pcall, error_reply = redis.error_reply, status_reply = redis.status_reply }
${script.content}`,
      },
    ]),
  );
  const record = (backend: FairQueueBackend): FairQueueBackend => {
    const forQueue = backend.forQueue.bind(backend);
    backend.forQueue = (name, prefix) => record(withoutLean(forQueue(name, prefix)));
    const execute = backend.execCommand.bind(backend);
    backend.execCommand = (client, command, args) => {
      const target = client as IRedisClient;
      const script = scripts.get(command);
      // One of the fair backend's own: BullMQ has no part in it.
      if (!script) return execute(client, command, args);
      const qualified = `${command}:${recorded}`;
      if (!(qualified in target))
        target.defineCommand(qualified, { numberOfKeys: script.keys, lua: script.lua });
      return target.runCommand(qualified, args);
    };
    return backend;
  };
  return (...args) => record(withoutLean(createFairBackend()(...args)));
}

const served = (kind: string): string[] =>
  [...projectFile('queues/fair/lua/virtual/wait.lua').matchAll(new RegExp(`function ${kind}\\.(\\w+)`, 'g'))]
    .map(([, command]) => `${kind} ${command}`)
    .sort();

describe('the commands of BullMQ', () => {
  test('in the text of its scripts are the known ones', () => {
    const calls = possibleCalls();
    expect({ hint: UPGRADE, calls }).toEqual({ hint: UPGRADE, calls: VIRTUAL_EXPRESSIONS });
  });

  test('while every conformance case runs are known and served', async () => {
    const recorded = await inLab('stock', async (lab) => {
      const key = `${lab.prefix}:recorded`;
      const cases = Object.entries({ ...adding, ...flows, ...keeping, ...running })
        // In these cases jobs, not lists, have keys with such endings.
        .filter(([name]) => !/lists$/.test(name))
        .map(([, run]) => run);
      for (let i = 0; i < cases.length; i += 6) {
        await Promise.all(
          cases.slice(i, i + 6).map((run) => inLab(recorder(key), (each) => run(each)).catch(() => null)),
        );
      }
      return lab.redis.smembers(key);
    });
    const known = [...served('wait'), ...served('prioritized'), 'to wait RENAME'];
    const unserved = recorded.filter((pair) => !known.includes(pair));
    expect({ hint: UPGRADE, unserved }).toEqual({ hint: UPGRADE, unserved: [] });
    const unexpected = recorded.filter((pair) => !VIRTUAL_COMMANDS.includes(pair));
    expect({ hint: UPGRADE, unexpected }).toEqual({ hint: UPGRADE, unexpected: [] });
    // The recording must be worth something: the everyday commands were all seen.
    for (const pair of [
      'wait LPUSH',
      'wait RPOPLPUSH',
      'wait LREM',
      'prioritized ZADD',
      'prioritized ZPOPMIN',
    ]) {
      expect(recorded).toContain(pair);
    }
  });

  test('that are served are the frozen ones', () => {
    expect([...served('prioritized'), ...served('wait'), 'to wait RENAME'].sort()).toEqual(
      [...VIRTUAL_COMMANDS].sort(),
    );
  });

  test('use nothing of `redis` that the shadow lacks', () => {
    const uses = new Set<string>();
    for (const script of stockScripts().values()) {
      for (const [, name] of script.content.matchAll(/redis\.(\w+)/g)) uses.add(name ?? '');
    }
    const shadow = projectFile('queues/fair/lua/virtual/redis.lua');
    for (const name of uses) expect(shadow).toMatch(new RegExp(`\\b${name} = `));
  });
});

describe('the shadow', () => {
  const prelude = (): string => {
    const script = fairScripts({ unprioritized: 'first', listsFailed: false }).find(
      (each) => each.name === 'getCounts',
    );
    const stock = stockScripts().get('getCounts');
    return (script?.content ?? '').replace(stock?.content ?? '', '');
  };

  test.each([
    ['wait', 'LINSERT'],
    ['wait', 'DEL'],
    ['wait', 'SORT'],
    ['prioritized', 'ZINCRBY'],
    ['prioritized', 'ZRANGESTORE'],
    ['prioritized', 'DEL'],
  ])('raises an error for an unknown command on %s: %s', async (kind, command) => {
    await inLab('fair', async (lab) => {
      const script = `${prelude()}\nreturn redis.call('${command}', KEYS[1], 'x', 'y')`;
      const call = lab.redis.eval(script, '2', `${lab.prefix}:q:${kind}`, `${lab.prefix}:q:meta`);
      await expect(call).rejects.toThrow(`${command} is not served on the virtual key`);
    });
  });

  test('answers pcall as Redis does: a missing value is false and an error is a value', async () => {
    await inLab('fair', async (lab) => {
      const missing = `${prelude()}\nreturn redis.pcall('HGET', KEYS[1], 'x') == false and 'false' or 'other'`;
      expect(await lab.redis.eval(missing, '1', `${lab.prefix}:nothing`)).toBe('false');
      const wrong = `${prelude()}\nredis.call('SET', KEYS[1], 1)\nreturn type(redis.pcall('HGET', KEYS[1], 'x').err)`;
      expect(await lab.redis.eval(wrong, '1', `${lab.prefix}:text`)).toBe('string');
    });
  });
});

test('package.json pins bullmq exactly', () => {
  const { dependencies } = JSON.parse(projectFile('package.json')) as {
    dependencies: Record<string, string>;
  };
  expect(dependencies.bullmq).toMatch(/^\d+\.\d+\.\d+$/);
});
