import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { UnsecuredJWT } from 'jose';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { inSeconds, signed, signedWith, signer, startIssuer } from './support/issuer.ts';
import type { Claims, Issuer, Signer } from './support/issuer.ts';
import { expectProblem } from './support/problems.ts';

const SECRET = 'a-shared-secret-of-32-bytes-here';
const RULES = { iss: 'https://issuer.example', aud: 'waggle' };
const GOOD: Claims = { ...RULES, tenant_id: 'acme', scope: 'jobs:read jobs:write' };

let issuer: Issuer;
let pairs: Signer[];
let pair: Signer;
/** Takes both kinds of token, of one issuer and for one audience. */
let api: Api;
/** Takes those of the key set, of anybody. */
let keysOnly: Api;

beforeAll(async () => {
  issuer = await startIssuer();
  pairs = await Promise.all(['ES256', 'RS256', 'PS256', 'EdDSA'].map((alg) => signer(`key-${alg}`, alg)));
  pair = pairs[0] as Signer;
  issuer.publish(...pairs);
  const redisUrl = await freshRedisUrl();
  const env = { WAGGLE_JWKS_URL: issuer.url };
  [api, keysOnly] = await Promise.all([
    startApi(redisUrl, {
      ...env,
      WAGGLE_JWT_SECRET: SECRET,
      WAGGLE_JWT_ISSUER: RULES.iss,
      WAGGLE_JWT_AUDIENCE: RULES.aud,
    }),
    startApi(redisUrl, env),
  ]);
});
afterAll(() => Promise.all([api.stop(), keysOnly.stop(), issuer.stop()]));

const list = (token: string, at = api): Promise<Answer> => at.call('GET', '/v1/jobs', { token });
async function expectRefused(token: string, at = api): Promise<void> {
  const answer = await list(token, at);
  expectProblem(answer, 401, 'unauthenticated');
  expect(answer.headers['www-authenticate']).toContain('error="invalid_token"');
}

describe('a token', () => {
  test('of each algorithm lets its tenant in', async () => {
    const tokens = await Promise.all([signedWith(SECRET, GOOD), ...pairs.map((each) => signed(each, GOOD))]);
    const enqueue = (token: string): Promise<Answer> =>
      api.call('POST', '/v1/jobs', { token, body: { task: 'echo' } });
    for (const token of tokens) {
      const { status, json } = await enqueue(token);
      expect([status, json.tenant]).toEqual([202, 'acme']);
    }
    await eventually('a clock may be off', async () => {
      const odd = { ...GOOD, aud: ['other', RULES.aud], exp: inSeconds(-3), nbf: inSeconds(3) };
      return (await enqueue(await signed(pair, odd))).status === 202;
    });
    expect(
      (await list(await signed(pair, { tenant_id: 'globex', scope: 'jobs:read' }), keysOnly)).json,
    ).toEqual({
      jobs: [],
      nextCursor: null,
    });
  });

  test('opens what its scopes say, unknown ones left aside, and nothing without', async () => {
    const scope = 'openid jobs:read  root __proto__ *';
    const reader = await signed(pair, { ...GOOD, scope });
    expect((await list(reader)).status).toBe(200);
    const inList = await signed(pair, { ...GOOD, scope: ['openid', 'jobs:read'] });
    expect((await list(inList)).status).toBe(200);
    for (const [token, path] of [
      [reader, '/v1/jobs'],
      [inList, '/v1/jobs'],
      [await signed(pair, { ...GOOD, scope: [] }), '/v1/jobs'],
      [await signed(pair, { ...GOOD, scope: ['jobs:read jobs:write'] }), '/v1/jobs'],
      [await signed(pair, { ...GOOD, scope: undefined }), '/v1/jobs'],
      [await signed(pair, { ...GOOD, scope: '' }), '/v1/flows'],
      [await signed(pair, { ...GOOD, scope: 'jobs:read,jobs:write' }), '/v1/jobs'],
    ] as const) {
      expectProblem(await api.call('POST', path, { token, body: {} }), 403, 'forbidden');
    }
    expect((await api.call('GET', '/v1/me', { token: reader })).json.tenant).toBe('acme');
  });

  test('is no admin, whatever it says, and acts for its tenant alone', async () => {
    const token = await signed(pair, { ...GOOD, scope: 'admin jobs:read', role: 'admin', sub: 'admin' });
    expectProblem(await api.call('GET', '/v1/tenants', { token }), 403, 'forbidden');
    const headers = { 'X-Tenant-Id': 'globex' };
    expectProblem(await api.call('GET', '/v1/jobs', { token, headers }), 403, 'forbidden');
  });
});

describe('no entry with a token', () => {
  test('that nobody known has signed', async () => {
    const stranger = await signer(pair.kid);
    const good = await signed(pair, GOOD);
    const [head, , signature] = good.split('.');
    const other = Buffer.from(JSON.stringify({ ...GOOD, tenant_id: 'globex', exp: inSeconds(60) }));
    for (const token of [
      await signed(stranger, GOOD),
      await signed({ ...stranger, kid: 'unknown' }, GOOD),
      await signedWith(`${SECRET}x`, GOOD),
      `${head}.${other.toString('base64url')}.${signature}`,
      `${good.slice(0, -6)}AAAAAA`,
      good.replace(/\.[^.]*$/, '.'),
      'a.b.c',
      `${'e30.'.repeat(2)}x`,
    ]) {
      await expectRefused(token);
    }
  });

  test('of an algorithm that is not for its key', async () => {
    const unsecured = new UnsecuredJWT({ ...GOOD, exp: inSeconds(60) }).encode();
    // A public key is no secret, in whatever form it is used as one.
    const rsa = pairs[1] as Signer;
    const asSecret = [JSON.stringify(rsa.jwk), rsa.jwk.n ?? ''].map((text) => signedWith(text, GOOD));
    const head = Buffer.from(JSON.stringify({ alg: 'HS256', kid: rsa.kid })).toString('base64url');
    const named = (await signedWith(SECRET, GOOD)).replace(/^[^.]*/, head);
    const long = Buffer.alloc(64, 1);
    for (const token of [
      unsecured,
      `${unsecured}x`,
      named,
      ...(await Promise.all(asSecret)),
      await signedWith(long, GOOD, 'HS512'),
      await signed(await signer(pair.kid, 'ES384'), GOOD),
    ]) {
      await expectRefused(token);
      await expectRefused(token, keysOnly);
    }
    await expectRefused(await signedWith(SECRET, GOOD), keysOnly);
  });

  test('at the wrong time, from or for somebody else', async () => {
    for (const claims of [
      { exp: inSeconds(-10) },
      { exp: undefined },
      { exp: 'tomorrow' },
      { nbf: inSeconds(60) },
      { iss: 'https://other.example' },
      { iss: undefined },
      { aud: 'other' },
      { aud: ['other'] },
      { aud: undefined },
    ]) {
      await expectRefused(await signed(pair, { ...GOOD, ...claims }));
      await expectRefused(await signedWith(SECRET, { ...GOOD, ...claims }));
    }
  });

  test('that names no tenant, or its scopes in a form nobody knows', async () => {
    const odd = [
      undefined,
      null,
      '',
      '*',
      '__proto__',
      'a:b',
      '{}',
      'ACME',
      7,
      ['acme'],
      { a: 1 },
      'x'.repeat(64),
    ];
    for (const tenant_id of odd) await expectRefused(await signed(pair, { ...GOOD, tenant_id }));
    for (const scope of [7, null, { 'jobs:read': true }, ['jobs:read', 7], [['jobs:read']]]) {
      await expectRefused(await signed(pair, { ...GOOD, scope }));
    }
  });
});

test('keys come and go with the issuer, and the last ones hold while it is away', async () => {
  const next = await signer('next');
  issuer.publish(next, ...pairs);
  expect((await list(await signed(next, GOOD), keysOnly)).status).toBe(200);
  issuer.hang();
  expect((await list(await signed(next, GOOD), keysOnly)).status).toBe(200);
  expect((await list(await signed(pair, GOOD), keysOnly)).status).toBe(200);
});

test('while the issuer has never answered, a token of its cannot be judged; others can', async () => {
  issuer.answer((_req, res) => res.writeHead(500).end());
  const young = await startApi(await freshRedisUrl(), { WAGGLE_JWKS_URL: issuer.url });
  const answer = await list(await signed(pair, GOOD), young);
  expect([answer.status, answer.headers['retry-after']]).toEqual([503, '1']);
  expect(answer.json.detail).toContain('issuer');
  await expectRefused(await signedWith(SECRET, GOOD), young);
  expect((await list(await young.key('acme'), young)).status).toBe(200);
  await young.stop();
});

test('where no tokens are taken none is', async () => {
  const plain = await startApi(await freshRedisUrl());
  await expectRefused(await signedWith(SECRET, GOOD), plain);
  await expectRefused(await signed(pair, GOOD), plain);
  await plain.stop();
});
