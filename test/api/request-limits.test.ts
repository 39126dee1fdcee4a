import { afterEach, describe, expect, test } from '@jest/globals';
import { RequestRate } from '../../src/api/auth/request-rate.ts';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';

let api: Api;
afterEach(async () => {
  await api?.stop();
});

const limited = async (env: Record<string, string>): Promise<void> => {
  api = await startApi(await freshRedisUrl(), env);
};
const wrong = (headers = {}): Promise<Answer> => api.call('GET', '/v1/jobs', { token: 'wgk_wrong', headers });

describe('requests of one credential', () => {
  test('past the rate are refused with a time to come again; other credentials are not', async () => {
    // One is free again each second; so many at once leave refusals for half a minute.
    await limited({ WAGGLE_API_RATE: '1', WAGGLE_API_BURST: '3' });
    const [first, second] = [await api.key('acme'), await api.key('acme')];
    const together = await Promise.all(
      Array.from({ length: 40 }, () => api.call('GET', '/v1/jobs', { token: first })),
    );
    const refused = together.filter(({ status }) => status !== 200);
    expect(refused.length).toBeGreaterThanOrEqual(4);
    for (const answer of refused) {
      expectProblem(answer, 429, 'rate_limited');
      expect(answer.headers).toMatchObject({
        'retry-after': '1',
        'ratelimit-policy': '"api-rate";q=1;w=1',
        ratelimit: '"api-rate";r=0;t=1',
      });
    }
    expect((await api.call('GET', '/v1/jobs', { token: second })).status).toBe(200);
    expect((await api.call('GET', '/livez')).status).toBe(200);
    expectProblem(await wrong(), 401, 'unauthenticated');
    await eventually('there is a token again', async () => {
      return (await api.call('GET', '/v1/jobs', { token: first })).status === 200;
    });
  });

  test('are counted exactly: a burst, then one each interval, and never more saved than the burst', () => {
    let time = 0;
    const rate = new RequestRate({ rate: 10, burst: 3, now: () => time });
    const taken = (credential: string): number => {
      for (let count = 0; ; count += 1) {
        try {
          rate.take(credential);
        } catch {
          return count;
        }
      }
    };
    expect([taken('a'), taken('a'), taken('b')]).toEqual([3, 0, 3]);
    time += 99;
    expect(taken('a')).toBe(0);
    time += 1;
    expect(taken('a')).toBe(1);
    time += 250;
    expect(taken('a')).toBe(2);
    time += 1e9;
    expect(taken('a')).toBe(3);
    expect(() => rate.take('a')).toThrow(
      expect.objectContaining({ code: 'rate_limited', retryAfterMs: 100, quota: expect.any(Object) }),
    );
  });

  test('of more credentials than are remembered cost no more memory', () => {
    const rate = new RequestRate({ rate: 1, burst: 1, remembered: 2, now: () => 0 });
    for (const credential of ['a', 'b', 'c']) rate.take(credential);
    expect(() => rate.take('c')).toThrow();
    expect(() => rate.take('b')).toThrow();
    // Forgotten as the one that was quiet longest.
    rate.take('a');
  });
});

describe('wrong tokens from one address', () => {
  test('are not looked at any more after too many; callers known to be right go on', async () => {
    await limited({ WAGGLE_AUTH_FAILURES: '4' });
    const token = await api.key('acme');
    const late = await api.key('acme');
    expect((await api.call('GET', '/v1/jobs', { token })).status).toBe(200);
    for (let n = 0; n < 4; n += 1) expectProblem(await wrong(), 401, 'unauthenticated');
    const refused = await wrong();
    expectProblem(refused, 429, 'rate_limited');
    const seconds = Number(refused.headers['retry-after']);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(60);
    expect(refused.headers['ratelimit-policy']).toBe('"auth-failures";q=4;w=60');
    // A guess would not be known by its answer, even a right one.
    expectProblem(await api.call('GET', '/v1/jobs', { token: late }), 429, 'rate_limited');
    expectProblem(
      await api.call('GET', '/v1/jobs', { headers: { Authorization: 'Basic YTpi' } }),
      429,
      'rate_limited',
    );
    expect((await api.call('GET', '/v1/jobs', { token })).status).toBe(200);
    expect((await api.admin('GET', '/v1/tenants')).status).toBe(200);
    // Who brings no token guesses nothing.
    expectProblem(await api.call('GET', '/v1/jobs'), 401, 'unauthenticated');
  });

  test('a key that was revoked is not known any more', async () => {
    await limited({ WAGGLE_AUTH_FAILURES: '2' });
    const { id, secret: token } = (await api.admin('POST', '/v1/tenants/acme/keys', { body: {} })).json;
    expect((await api.call('GET', '/v1/jobs', { token })).status).toBe(200);
    for (let n = 0; n < 2; n += 1) await wrong();
    await api.admin('DELETE', `/v1/tenants/acme/keys/${id}`);
    expectProblem(await api.call('GET', '/v1/jobs', { token }), 401, 'unauthenticated');
    expectProblem(await api.call('GET', '/v1/jobs', { token }), 429, 'rate_limited');
  });

  test('the address is that of the connection, and that of a proxy where it is told so', async () => {
    await limited({ WAGGLE_AUTH_FAILURES: '1' });
    expect((await wrong({ 'X-Forwarded-For': '192.0.2.1' })).status).toBe(401);
    expect((await wrong({ 'X-Forwarded-For': '192.0.2.2' })).status).toBe(429);
    await api.stop();
    await limited({ WAGGLE_AUTH_FAILURES: '1', WAGGLE_TRUST_PROXIES: '1' });
    const statuses: number[] = [];
    for (const forwarded of [
      '192.0.2.1',
      '192.0.2.2',
      // What the caller itself put in front does not count.
      '198.51.100.7, 192.0.2.1',
      '2001:db8:0:1::1',
      '2001:db8:0:1:ffff::2',
      '2001:db8:0:2::1',
      '::ffff:192.0.2.2',
    ]) {
      statuses.push((await wrong({ 'X-Forwarded-For': forwarded })).status);
    }
    expect(statuses).toEqual([401, 401, 429, 401, 429, 401, 429]);
  });
});
