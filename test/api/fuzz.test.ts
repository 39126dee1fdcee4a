import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { shardOf } from '../../queues/topology/shard-of.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { hostileRequest, onTheWire } from './support/hostile.ts';
import { exchange } from './support/raw.ts';
import type { RawAnswer } from './support/raw.ts';

const SHARDS = 4;
const AT_ONCE = 10;
const ROUNDS = Math.ceil(Number(process.env.FUZZ_REQUESTS ?? 1_600) / AT_ONCE);
const SEED = Number(process.env.FC_SEED ?? Math.trunc(Math.random() * 2 ** 30));
/** What a process may have grown by between the first third and the end: buffers and compiled code, not requests. */
const MOST_GROWTH_BYTES = 64 * 2 ** 20;
/** On the victim's objects, wherever a tenant can put text. */
const SECRET = 'only-the-victim-knows';

let api: Api;
let redis: Redis;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl, { WAGGLE_SHARDS: String(SHARDS), WAGGLE_AUTH_FAILURES: '0' });
});
afterAll(async () => {
  redis.disconnect();
  await api.stop();
});

test(
  'hostile requests never get a 5xx, never hang, and touch nothing but their own tenant',
  async () => {
    const made = await api.admin('POST', '/v1/tenants/hostile/keys', { body: {} });
    const { id: keyId, secret: token } = made.json as { id: string; secret: string };
    // All of the caller's key but when it was used, which is noted.
    const ownKey = async (): Promise<object> => ({
      ...(await redis.hgetall(`wg:apikey:${keyId}`)),
      lastUsedAt: '',
    });
    const keyBefore = await ownKey();
    const victim = await api.key('victim');
    await api.call('POST', '/v1/jobs', {
      token: victim,
      body: { task: 'echo', payload: SECRET, tags: [SECRET], key: SECRET, delayMs: 3_600_000 },
    });
    const before = await snapshot(redis);
    const accepted = new Set<string>();
    let [requests, memory] = [0, 0];

    await fc.assert(
      fc.asyncProperty(
        fc.array(hostileRequest, { minLength: AT_ONCE, maxLength: AT_ONCE }),
        async (round) => {
          const answers = await Promise.all(
            round.map((request) => exchange(api.port, onTheWire(request, token))),
          );
          for (const answer of answers) {
            expectMannerly(answer);
            expect(`${answer.head}${answer.body}`).not.toContain(SECRET);
            for (const id of acceptedIds(answer)) accepted.add(id);
          }
          requests += answers.length;
          if (memory === 0 && requests > (ROUNDS * AT_ONCE) / 3) memory = await residentBytes();
        },
      ),
      {
        numRuns: ROUNDS,
        seed: SEED,
        interruptAfterTimeLimit: ROUNDS * 1_000,
        markInterruptAsFailure: true,
      },
    );
    expect(requests).toBeGreaterThanOrEqual(1000);
    expect((await residentBytes()) - memory).toBeLessThan(MOST_GROWTH_BYTES);
    expect(accepted.size).toBeGreaterThan(20);

    expect(await allIds(api, token)).toEqual([...accepted].sort());
    const after = await snapshot(redis);
    expect(await ownKey()).toEqual(keyBefore);
    for (const [key, content] of before) {
      if (isShared(key) || key.endsWith(keyId) || key.startsWith('wg:audit')) continue;
      expect([key, after.get(key)]).toEqual([key, content]);
    }
    const own = `{wg:${shardOf('hostile', SHARDS)}}`;
    const grown = [...after.keys()].filter((key) => !before.has(key) && !isShared(key));
    expect(grown.filter((key) => !key.startsWith(own))).toEqual([]);
    for (const id of accepted) {
      const queue = id.slice(0, id.lastIndexOf('.'));
      expect(await redis.hget(`${own}:${queue}:${id}`, 'data')).toContain('"tenant":"hostile"');
    }
    const severe = api.process.lines.map((line) => JSON.parse(line)).filter((line) => line.level >= 40);
    expect(severe).toEqual([]);
    expect((await api.call('GET', '/readyz')).status).toBe(200);
  },
  ROUNDS * 1_000 + 120_000,
);

/** The victim's shard may be the hostile tenant's as well: then queue structures there do change, but not its objects. */
function isShared(key: string): boolean {
  return (
    key === 'wg:queues' ||
    /^\{wg:\d+\}:[a-z0-9._-]+:(id|meta|marker|events|delayed|wait|prioritized|fair:.*|pc)$/.test(key)
  );
}

function expectMannerly(answer: RawAnswer): void {
  expect(answer.status).toBeGreaterThanOrEqual(200);
  expect(answer.status).toBeLessThan(500);
  expect(answer.head.toLowerCase()).toContain('\r\nx-request-id: ');
  expect(answer.head.toLowerCase()).not.toContain('\r\nx-injected');
  if (answer.status >= 400 && !answer.head.includes('text/html')) {
    expect(answer.head).toContain('Content-Type: application/problem+json');
  }
}

function acceptedIds(answer: RawAnswer): string[] {
  if (answer.status !== 202 || answer.body === '') return [];
  const body = JSON.parse(answer.body) as {
    id: string;
    results?: { id?: string }[];
    jobs?: Record<string, string>;
    job?: { id: string } | null;
  };
  if (body.job !== undefined) return body.job === null ? [] : [body.job.id];
  if (body.results !== undefined) return body.results.flatMap((result) => result.id ?? []);
  return body.jobs === undefined ? [body.id] : Object.values(body.jobs);
}

async function residentBytes(): Promise<number> {
  const { text } = await api.call('GET', '/metrics');
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]);
}

async function allIds(from: Api, token: string): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { json } = await from.call('GET', `/v1/jobs?limit=200${query}`, { token });
    ids.push(...json.jobs.map((job: { id: string }) => job.id));
    cursor = json.nextCursor;
  }
  return ids.sort();
}

/** Every key of the database with a serialisation of its value. */
async function snapshot(from: Redis): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const keys of from.scanStream({ count: 1000 })) {
    for (const key of keys as string[])
      found.set(key, (await from.dumpBuffer(key))?.toString('base64') ?? '');
  }
  return found;
}
