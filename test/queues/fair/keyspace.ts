import type { Redis } from 'ioredis';
import { escapeGlob } from './bullmq-lab.ts';

/** One queue's waiting jobs as the fair backend keeps them, read without its code. */
export interface FairState {
  /** group -> waiting job ids in the order of their places */
  groups: Map<string, { id: string; score: number }[]>;
  /** ring members in the order of their tags */
  ring: { member: string; tag: number; group: string }[];
  /** group -> when its limits allow its next job, in microseconds */
  park: Map<string, number>;
  idx: Record<string, string>;
  fin: Map<string, number>;
  counters: Record<string, number>;
}

export async function fairState(redis: Redis, base: string): Promise<FairState> {
  const groupPrefix = `${base}fair:q::`;
  const [ring, park, idx, fin, counters, groupKeys] = await Promise.all([
    redis.zrange(`${base}fair:ring`, '0', '-1', 'WITHSCORES'),
    redis.zrange(`${base}fair:park`, '0', '-1', 'WITHSCORES'),
    redis.hgetall(`${base}fair:idx`),
    redis.zrange(`${base}fair:fin`, '0', '-1', 'WITHSCORES'),
    redis.hgetall(`${base}fair:n`),
    redis.keys(`${escapeGlob(groupPrefix)}*`),
  ]);
  const groups = new Map<string, { id: string; score: number }[]>();
  for (const key of groupKeys) {
    const flat = await redis.zrange(key, '0', '-1', 'WITHSCORES');
    groups.set(
      key.slice(groupPrefix.length),
      pairs(flat).map(([id, score]) => ({ id, score: Number(score) })),
    );
  }
  return {
    groups,
    ring: pairs(ring).map(([member, tag]) => ({ member, tag: Number(tag), group: groupOfMember(member) })),
    park: new Map(pairs(park).map(([group, due]) => [group, Number(due)])),
    idx,
    fin: new Map(pairs(fin).map(([group, tag]) => [group, Number(tag)])),
    counters: Object.fromEntries(Object.entries(counters).map(([field, value]) => [field, Number(value)])),
  };
}

/** What is wrong with the structures of a queue, as sentences; empty when all invariants hold. */
export function brokenInvariants(state: FairState, plainFirst = true): string[] {
  const broken: string[] = [];
  const placed = [...state.ring.map((entry) => entry.group), ...state.park.keys()].sort();
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
  const plain = [...state.groups.values()].flat().filter((job) => isPlain(job.score)).length;
  const { i = 0, f = 0, o = 0, p = 0 } = state.counters;
  if (i + f - o !== plain) broken.push(`counters say ${i + f - o} plain jobs, there are ${plain}`);
  if (p !== ids.length - plain)
    broken.push(`counters say ${p} prioritized jobs, there are ${ids.length - plain}`);
  if (ids.length === 0 && (Object.keys(state.counters).length > 0 || state.fin.size > 0)) {
    broken.push('an empty queue has left counters or finish tags');
  }
  return broken;
}

const groupOfMember = (member: string): string =>
  /^\d+:[^:]+:\d:[^:]+:([^]*)$/.exec(member)?.[1] ?? `? ${member}`;

export function pairs(reply: unknown[]): [string, string][] {
  const flat = reply.map(String);
  const out: [string, string][] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) out.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return out;
}

/** Every key under a prefix with its type and content; streams without entry ids, lists and hashes in full. */
export async function dump(redis: Redis, prefix: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const key of (await redis.keys(`${escapeGlob(prefix)}:*`)).sort()) {
    found[key.slice(prefix.length)] = await read(redis, key);
  }
  return found;
}

async function read(redis: Redis, key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case 'string':
      return redis.get(key);
    case 'hash':
      return sorted(await redis.hgetall(key));
    case 'list':
      return redis.lrange(key, '0', '-1');
    case 'set':
      return (await redis.smembers(key)).sort();
    case 'zset':
      return redis.zrange(key, '0', '-1', 'WITHSCORES');
    case 'stream':
      return (await redis.xrange(key, '-', '+')).map((entry) => entry[1].join(' '));
    default:
      return undefined;
  }
}

const sorted = (hash: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(hash).sort(([a], [b]) => (a < b ? -1 : 1)));
