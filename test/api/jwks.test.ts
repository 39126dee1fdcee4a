import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { jwtVerify } from 'jose';
import { Jwks } from '../../src/api/auth/jwks.ts';
import { eventually } from '../support/eventually.ts';
import { signed, signer, startIssuer } from './support/issuer.ts';
import type { Issuer, Signer } from './support/issuer.ts';

let issuer: Issuer;
let time: number;
let jwks: Jwks;
let old: Signer;
let fresh: Signer;

beforeEach(async () => {
  issuer = await startIssuer();
  time = 0;
  jwks = new Jwks({ url: issuer.url, now: () => time });
  [old, fresh] = [await signer('old'), await signer('fresh')];
});
afterEach(() => issuer.stop());

const verify = async (by: Signer): Promise<unknown> =>
  (await jwtVerify(await signed(by, { sub: by.kid }), jwks.key)).payload.sub;
const UNKNOWN = { code: 'ERR_JWKS_NO_MATCHING_KEY' };
const NEVER_THERE = { code: 'redis_unavailable', status: 503, retryAfterMs: expect.any(Number) };

test('the set is fetched once, at the first use, for all who need it', async () => {
  issuer.publish(old);
  expect(await Promise.all([verify(old), verify(old), verify(old)])).toEqual(['old', 'old', 'old']);
  expect(issuer.asked).toBe(1);
});

test('a new key is found at once, and invented ones cost the issuer one question in 30 s', async () => {
  issuer.publish(old);
  await verify(old);
  issuer.publish(old, fresh);
  expect(await verify(fresh)).toBe('fresh');
  expect(issuer.asked).toBe(2);
  const invented = await signer('invented');
  for (let n = 0; n < 3; n += 1) await expect(verify(invented)).rejects.toMatchObject(UNKNOWN);
  expect(issuer.asked).toBe(2);
  time += 30_000;
  for (let n = 0; n < 3; n += 1) await expect(verify(invented)).rejects.toMatchObject(UNKNOWN);
  expect(issuer.asked).toBe(3);
  expect(await verify(old)).toBe('old');
});

test('an old set is fetched anew beside the requests; a key that was withdrawn opens nothing then', async () => {
  issuer.publish(old);
  await verify(old);
  let answer: () => void = () => undefined;
  issuer.answer((_req, res) => {
    answer = () => res.end(JSON.stringify({ keys: [fresh.jwk] }));
  });
  time += 600_000;
  // Nobody waits: the issuer has not answered yet.
  expect(await verify(old)).toBe('old');
  await eventually('the issuer is asked', () => issuer.asked === 2);
  answer();
  await eventually('it is withdrawn', () =>
    verify(old).then(
      () => false,
      () => true,
    ),
  );
  expect(await verify(fresh)).toBe('fresh');
});

test('a set is used on while the issuer is down, which is asked again after a while', async () => {
  issuer.publish(old);
  await verify(old);
  issuer.answer((_req, res) => res.writeHead(503).end('{"keys":[]}'));
  for (let round = 2; round <= 4; round += 1) {
    time += 3_600_000;
    expect([await verify(old), await verify(old)]).toEqual(['old', 'old']);
    await eventually(
      'it is asked again',
      async () => (await verify(old)) === 'old' && issuer.asked === round,
    );
  }
});

test('without any set ever it cannot be told, and a set that comes is taken', async () => {
  issuer.answer((_req, res) => res.writeHead(500).end());
  await expect(verify(old)).rejects.toMatchObject(NEVER_THERE);
  await expect(verify(old)).rejects.toMatchObject(NEVER_THERE);
  expect(issuer.asked).toBe(1);
  issuer.publish(old);
  time += 1000;
  expect(await verify(old)).toBe('old');
});

test('an issuer that hangs holds nobody for more than two seconds', async () => {
  issuer.hang();
  const began = performance.now();
  const all = await Promise.allSettled([verify(old), verify(old)]);
  expect(all.map((one) => one.status === 'rejected' && one.reason.code)).toEqual(
    Array.from({ length: 2 }, () => 'redis_unavailable'),
  );
  expect(performance.now() - began).toBeGreaterThan(1900);
  expect(performance.now() - began).toBeLessThan(30_000);
  issuer.publish(old);
  time += 1000;
  await verify(old);
  issuer.hang();
  await expect(verify(fresh)).rejects.toMatchObject(UNKNOWN);
  expect(await verify(old)).toBe('old');
});

test('what is no key set is as if nothing came: no other place, no endless or broken document', async () => {
  const target = await startIssuer();
  target.publish(old);
  const answers: Parameters<Issuer['answer']>[0][] = [
    (_req, res) => res.writeHead(302, { Location: target.url }).end(),
    (_req, res) => res.end('{"keys":'),
    (_req, res) => res.end('{"keys":{}}'),
    (_req, res) => res.end('null'),
    (_req, res) => res.end(JSON.stringify({ keys: [old.jwk], padding: 'x'.repeat(300_000) })),
    (req) => req.socket.destroy(),
  ];
  for (const answer of answers) {
    issuer.answer(answer);
    time += 1000;
    await expect(verify(old)).rejects.toMatchObject(NEVER_THERE);
  }
  expect([issuer.asked, target.asked]).toEqual([answers.length, 0]);
  await target.stop();
});
