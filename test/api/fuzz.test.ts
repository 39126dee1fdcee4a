/**
 * Hostile requests against a real API with a worker: to every operation of its document, nearly right, in frames that
 * break the rules. FC_RUNS sets the rounds, of up to ten requests at once, and FC_SEED repeats them; `npm run
 * nightly:fuzz` does so for many more. What fails is made as short as it can be.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { shardOf } from '../../queues/topology/shard-of.ts';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { SEED } from '../support/seed.ts';
import { ADMIN_TOKEN, startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { documentedKeys } from './support/fuzz/keyspace.ts';
import { expectMannerly } from './support/fuzz/manners.ts';
import { decoded, hostileRequests } from './support/fuzz/requests.ts';
import type { HostileRequest } from './support/fuzz/requests.ts';
import { seedTenants } from './support/fuzz/tenants.ts';
import type { Seeded } from './support/fuzz/tenants.ts';
import { framing, onTheWire } from './support/fuzz/wire.ts';
import type { Framing } from './support/fuzz/wire.ts';
import { memoryOf, reportsMemory } from './support/memory.ts';
import type { EntryProcess } from './support/process.ts';
import { exchange, vanish } from './support/raw.ts';
import type { RawAnswer } from './support/raw.ts';
import { startWorker } from './support/worker.ts';

const SHARDS = 4;
const ROUNDS = Number(process.env.FC_RUNS ?? 200);
const AT_ONCE = 10;
const ANSWER_MS = 30_000;
/** What the second half of the requests may leave in memory: a cache that is not full yet, never a bit of each request. */
const MAX_GROWTH_BYTES = 12 * 1024 * 1024;

let api: Api;
let worker: EntryProcess;
let redis: Redis;
let seeded: Seeded;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  const env = { WAGGLE_SHARDS: String(SHARDS), LOG_LEVEL: 'warn' };
  api = await startApi(redisUrl, { ...env, ...reportsMemory, LOG_LEVEL: 'info', WAGGLE_AUTH_FAILURES: '0' });
  worker = startWorker(redisUrl, env);
  seeded = await seedTenants(api);
});
afterAll(async () => {
  redis.disconnect();
  await Promise.all([api.stop(), worker.stop()]);
});

interface Sent {
  request: HostileRequest;
  how: Framing;
}

test(
  'hostile requests are answered in time and in words, and touch nothing but their own tenant',
  async () => {
    const { document, known, hostile, victim } = seeded;
    const tenantOf = documentedKeys();
    const isVictims = (key: string): boolean =>
      tenantOf(key)?.tenant === 'victim' || victim.ids.some((id) => key.includes(id));
    const before = await snapshot(redis, isVictims);
    expect(before.size).toBeGreaterThan(5);

    const sent = fc.record({ request: hostileRequests(document, known), how: framing });
    const accepted = new Set<string>();
    const tenants = new Set(['hostile', 'victim']);
    const statuses = new Map<number, number>();
    const property = fc.asyncProperty(
      fc.array(sent, { minLength: 1, maxLength: AT_ONCE, size: 'max' }),
      (round) =>
        Promise.all(
          round.map(async (one) => {
            const answer = await answerTo(one, hostile.token);
            if (answer === null) return;
            expectMannerly(answer, one.request.method);
            expectNoSecrets(answer, one, seeded);
            statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
            for (const id of acceptedIds(answer)) accepted.add(id);
            if (answer.status < 300) for (const name of tenantsNamedBy(one.request)) tenants.add(name);
          }),
        ).then(() => undefined),
    );
    const half = async (seed: number): Promise<number> => {
      await fc.assert(property, { numRuns: Math.ceil(ROUNDS / 2), seed });
      await eventually(
        'what vanished callers asked is done',
        async () => inFlight(await api.call('GET', '/metrics')) === 1,
      );
      return (await memoryOf(api.process)).kept;
    };
    const keptBefore = await half(SEED);
    const keptAfter = await half(SEED + 1);

    const requests = [...statuses.values()].reduce((sum, count) => sum + count, 0);
    const report = {
      requests,
      accepted: accepted.size,
      statuses: Object.fromEntries(statuses),
      keptBefore,
      keptAfter,
    };
    if (process.env.FC_REPORT) writeFileSync(process.env.FC_REPORT, JSON.stringify(report));
    expect([...statuses.keys()]).toEqual(expect.arrayContaining([200, 202, 400, 401, 403, 404, 413, 415]));
    expect(accepted.size).toBeGreaterThan(requests / 50);
    expect({ ...report, grown: Math.max(0, keptAfter - keptBefore - MAX_GROWTH_BYTES) }).toEqual({
      ...report,
      grown: 0,
    });

    expect(await snapshot(redis, isVictims)).toEqual(before);
    for (const key of await allKeys(redis)) {
      const found = tenantOf(key);
      expect([key, found !== null]).toEqual([key, true]);
      if (found?.tenant === undefined || found.tenant === '*') continue;
      expect([key, tenants.has(found.tenant)]).toEqual([key, true]);
      if (found.shard !== undefined) expect([key, found.shard]).toEqual([key, shardOf(found.tenant, SHARDS)]);
    }
    for (const id of await allIds(api, hostile.token)) expect([id, accepted.has(id)]).toEqual([id, true]);
    const severe = [...api.process.lines, ...worker.lines].filter(isSevere);
    expect(severe).toEqual([]);
    const { json } = await api.call('POST', '/v1/jobs', {
      token: victim.token,
      headers: { Prefer: 'wait=30' },
      body: { task: 'echo', payload: 'still here' },
    });
    expect([json.state, json.result]).toEqual(['completed', 'still here']);
  },
  240_000 + ROUNDS * 1_000,
);

/** Null when the caller did not stay for it. */
async function answerTo({ request, how }: Sent, own: string): Promise<RawAnswer | null> {
  const { bytes, then } = onTheWire(request, how, { own, admin: ADMIN_TOKEN });
  if (then === 'vanish') {
    await vanish(api.port, bytes);
    return null;
  }
  return exchange(api.port, bytes, {
    withinMs: ANSWER_MS,
    halfClose: then === 'half-close',
    enough: (text) => request.target.includes('stream') && isFollowing(text),
  });
}

/** A stream of a job that does not end, once it has told the first event. */
function isFollowing(text: string): boolean {
  return /^HTTP\/1\.1 200 [^]*\r\n\r\n[^]*("event":|\nevent: )/.test(text);
}

/** What belongs to the victim comes back to nobody but the admin; a name that the caller said itself may. */
function expectNoSecrets({ head, body }: RawAnswer, { request }: Sent, { victim }: Seeded): void {
  if (request.credential === 'admin') return;
  const answer = head + body;
  for (const secret of victim.secrets) expect(answer).not.toContain(secret);
  const said = decoded(request.target) + request.headers.join() + request.body.toString();
  for (const id of victim.ids) if (!said.includes(id)) expect(answer).not.toContain(id);
}

function acceptedIds(answer: RawAnswer): string[] {
  return [...answer.body.matchAll(/[a-z][a-z0-9._-]{0,62}\.[0-9A-HJKMNP-TV-Z]{26}/g)].map(([id]) => id);
}

function tenantsNamedBy({ target, headers }: HostileRequest): string[] {
  const path = /^\/v1\/tenants\/([^/?#]+)/.exec(decoded(target))?.[1];
  return [path ?? [], headers.filter(([name]) => name === 'X-Tenant-Id').map(([, text]) => text)].flat();
}

function inFlight({ text }: { text: string }): number {
  return Number(/^waggle_http_requests_in_flight (\d+)$/m.exec(text)?.[1]);
}

/** A warning or worse, or what is no line of the log: Node's own warnings. Jobs may fail: who cancels a child fails its flow. */
function isSevere(line: string): boolean {
  if (!line.startsWith('{')) return true;
  const { level, status, msg } = JSON.parse(line) as { level: number; status?: number; msg: string };
  if (msg === 'job failed') return false;
  return level >= 40 && (status === undefined || status >= 500);
}

async function allIds(from: Api, token: string): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { json } = await from.call('GET', `/v1/jobs?limit=200${query}`, { token });
    ids.push(...json.jobs.map((job: { id: string }) => job.id));
    cursor = json.nextCursor;
  }
  return ids;
}

async function allKeys(from: Redis): Promise<string[]> {
  const all: string[] = [];
  for await (const keys of from.scanStream({ count: 1000 })) all.push(...(keys as string[]));
  return all;
}

/** The chosen keys of the database with a serialisation of their values. */
async function snapshot(from: Redis, chosen: (key: string) => boolean): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const key of (await allKeys(from)).filter(chosen).sort()) {
    found.set(key, (await from.dumpBuffer(key))?.toString('base64') ?? '');
  }
  return found;
}
