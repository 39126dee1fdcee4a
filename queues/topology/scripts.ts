import { readFileSync } from 'node:fs';
import type { RedisConnection } from './connections.ts';

type RunScript = (...args: (string | number)[]) => Promise<unknown>;

/**
 * Makes a Lua file callable on a connection (EVALSHA, loaded when the server does not know it).
 * @param url the file, beside the module that calls it: `new URL('./name.lua', import.meta.url)`
 * @returns the call; it takes the KEYS, then the ARGV
 */
export function defineScript(
  redis: RedisConnection,
  name: string,
  url: URL,
  numberOfKeys: number,
): RunScript {
  const commands = redis as unknown as Record<string, RunScript | undefined>;
  if (commands[name] === undefined)
    redis.defineCommand(name, { numberOfKeys, lua: readFileSync(url, 'utf8') });
  return (...args) => {
    const command = commands[name];
    if (command === undefined) throw new Error(`script ${name} is not defined`);
    return command.call(redis, ...args);
  };
}
