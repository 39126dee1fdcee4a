import type { RedisConnection } from '../../../queues/topology/connections.ts';
import { escapeGlob } from './bullmq-lab.ts';

/** One queue's waiting jobs as the fair backend keeps them, read without its code. */
export interface FairState {
  /** group -> waiting job ids in the order of their places */
  groups: Map<string, { id: string; score: number }[]>;
  /** ring members in the order of their tags */
  ring: { member: string; tag: number; group: string; weight: number; flags: number }[];
  /** group -> when its limits allow its next job, in microseconds */
  park: Map<string, number>;
  idx: Record<string, string>;
  /** group -> finish tag */
  fin: Map<string, number>;
  /** Groups whose finish tag or its weight stands there without the other. */
  unpaired: string[];
  counters: Record<string, number>;
  /** Jobs that others of their key keep from their group's queue, with the places they will have. */
  blocked: { id: string; score: number }[];
}

/** What was done to the keys from outside, and cannot be seen by who keeps them. */
export interface Damage {
  /** Groups whose queue was deleted: they may still be in the ring or parked. */
  ghosts: ReadonlySet<string>;
  /** Whether jobs were lost since the queue was last empty: they are still counted. */
  isDrifted: boolean;
}

const NO_DAMAGE: Damage = { ghosts: new Set(), isDrifted: false };

export async function fairState(redis: RedisConnection, base: string): Promise<FairState> {
  return fairStateOf(await snapshot(redis, `${base}fair:`), base);
}

/** Reads {@link FairState} from keys that were taken together. */
export function fairStateOf(keys: Snapshot, base: string): FairState {
  const groupPrefix = `${base}fair:q::`;
  const scored = (name: string): [string, number][] =>
    pairs(keys.get(`${base}fair:${name}`)?.content ?? []).map(([member, score]) => [member, Number(score)]);
  const hash = (name: string): [string, string][] => pairs(keys.get(`${base}fair:${name}`)?.content ?? []);
  const groups = new Map<string, { id: string; score: number }[]>();
  for (const [key, { content }] of keys) {
    if (!key.startsWith(groupPrefix)) continue;
    const jobs = pairs(content).map(([id, score]) => ({ id, score: Number(score) }));
    groups.set(key.slice(groupPrefix.length), jobs);
  }
  return {
    groups,
    ring: scored('ring').map(([member, tag]) => ({ member, tag, ...partsOfMember(member) })),
    // One member is no group, but a time to look again.
    park: new Map(scored('park').filter(([group]) => group !== '\0t')),
    idx: Object.fromEntries(hash('idx')),
    ...finishTags(scored('fin')),
    counters: Object.fromEntries(hash('n').map(([field, value]) => [field, Number(value)])),
    blocked: hash('kj')
      .filter(([, entry]) => !entry.startsWith('h:'))
      .map(([id, entry]) => ({ id, score: Number(entry.slice(0, entry.indexOf(':'))) })),
  };
}

function finishTags(members: [string, number][]): Pick<FairState, 'fin' | 'unpaired'> {
  const of = (kind: string): [string, number][] =>
    members.filter(([member]) => member.startsWith(kind)).map(([member, score]) => [member.slice(1), score]);
  const [fin, weights] = [new Map(of('f')), new Map(of('w'))];
  const groups = new Set(members.map(([member]) => member.slice(1)));
  const unpaired = [...groups].filter((group) => !fin.has(group) || !((weights.get(group) ?? 0) < 0));
  return { fin, unpaired };
}

/** What is wrong with the structures of a queue, as sentences; empty when all invariants hold. */
export function brokenInvariants(state: FairState, plainFirst = true, damage = NO_DAMAGE): string[] {
  const broken: string[] = [];
  const placed = [...state.ring.map((entry) => entry.group), ...state.park.keys()]
    .filter((group) => state.groups.has(group) || !damage.ghosts.has(group))
    .sort();
  const waiting = [...state.groups.keys()].sort();
  if (JSON.stringify(placed) !== JSON.stringify(waiting)) {
    broken.push(
      `ring and park hold ${JSON.stringify(placed)} but ${JSON.stringify(waiting)} have waiting jobs`,
    );
  }
  const indexed = Object.entries(state.idx)
    .map(([group, member]) => `${group} ${member}`)
    .sort();
  const parked = [...state.park.keys()].map((group) => `${group} `);
  const members = [...state.ring.map((entry) => `${entry.group} ${entry.member}`), ...parked].sort();
  if (JSON.stringify(indexed) !== JSON.stringify(members)) {
    broken.push(`idx ${JSON.stringify(indexed)} is not the ring ${JSON.stringify(members)}`);
  }
  const ids = [...state.groups.values()].flat().map((job) => job.id);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length > 0) broken.push(`in two group queues: ${twice.join()}`);

  const isPlain = (score: number) => (plainFirst ? score < 0 : score >= 2 ** 51);
  const counted = [...[...state.groups.values()].flat(), ...state.blocked];
  const plain = counted.filter((job) => isPlain(job.score)).length;
  const { i = 0, f = 0, o = 0, p = 0 } = state.counters;
  if (i + f - o !== plain && !damage.isDrifted)
    broken.push(`counters say ${i + f - o} plain jobs, there are ${plain}`);
  if (p !== counted.length - plain && !damage.isDrifted)
    broken.push(`counters say ${p} prioritized jobs, there are ${counted.length - plain}`);
  if (
    counted.length === 0 &&
    placed.length === indexed.length &&
    (Object.keys(state.counters).length > 0 || state.fin.size > 0)
  ) {
    broken.push('an empty queue has left counters or finish tags');
  }
  if (state.unpaired.length > 0) broken.push(`finish tags without weights: ${state.unpaired.join()}`);
  return broken;
}

function partsOfMember(member: string): { group: string; weight: number; flags: number } {
  const [, weight, flags, group] = /^\d+:([^:]+):(\d):[^:]+:([^]*)$/.exec(member) ?? [];
  return { group: group ?? `? ${member}`, weight: Number(weight), flags: Number(flags) };
}

/** Keys with their content, as flat as Redis tells it; taken at one moment. */
export type Snapshot = Map<string, { content: string[]; ttlMs: number }>;

const SNAPSHOT = `
local READ = {
  string = function(key) return { redis.call('GET', key) } end,
  hash = function(key) return redis.call('HGETALL', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = function() return {} end,
}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local isJob = string.find(key, ':%d+$') and not string.find(key, ':fair:', 1, true)
  found[#found + 1] = isJob and { key, -1, {} } or { key, redis.call('PTTL', key), READ[redis.call('TYPE', key).ok](key) }
end
return found`;

/** All keys that begin with `prefix`; streams and hashes of jobs with numbers for ids without their content. */
export async function snapshot(redis: RedisConnection, prefix: string): Promise<Snapshot> {
  const found = (await redis.eval(SNAPSHOT, 0, escapeGlob(prefix))) as [string, number, string[]][];
  return new Map(found.map(([key, ttlMs, content]) => [key, { content, ttlMs }]));
}

export function pairs(reply: unknown[]): [string, string][] {
  const flat = reply.map(String);
  const out: [string, string][] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) out.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return out;
}

const DUMP = `
local READ = {
  string = function(key) return { redis.call('GET', key) } end,
  hash = function(key) return redis.call('HGETALL', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = function(key)
    local entries = {}
    for i, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do entries[i] = table.concat(entry[2], ' ') end
    return entries
  end,
}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  local kind = redis.call('TYPE', key).ok
  found[#found + 1] = { key, kind, READ[kind](key) }
end
return found`;

/** Every key under a prefix with its content, taken at one moment; streams without entry ids, hashes as objects. */
export async function dump(redis: RedisConnection, prefix: string): Promise<Record<string, unknown>> {
  const found = (await redis.eval(DUMP, 0, escapeGlob(prefix))) as [string, string, string[]][];
  const shaped = found
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, kind, content]) => [key.slice(prefix.length), shape(kind, content)]);
  return Object.fromEntries(shaped) as Record<string, unknown>;
}

function shape(kind: string, content: string[]): unknown {
  switch (kind) {
    case 'string':
      return content[0];
    case 'hash':
      return sorted(Object.fromEntries(pairs(content)));
    case 'set':
      return content.sort();
    default:
      return content;
  }
}

const sorted = (hash: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(hash).sort(([a], [b]) => (a < b ? -1 : 1)));
