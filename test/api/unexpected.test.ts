import type { AddressInfo } from 'node:net';
import { createServer } from 'node:http';
import { expect, test } from '@jest/globals';
import type { Engine } from '../../queues/engine.ts';
import { createApp } from '../../src/api/app.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { apiSettings } from '../../src/shared/settings.ts';
import { send } from './support/api.ts';
import { expectProblem } from './support/problems.ts';

test('an error nobody expected is logged with the request id and answered opaquely', async () => {
  const lines: string[] = [];
  const engine = {
    tenants: {
      list: () => Promise.reject(new TypeError('the secret inner state')),
    },
  } as unknown as Engine;
  const token = 'x'.repeat(16);
  const app = createApp({
    engine,
    settings: apiSettings({ WAGGLE_ADMIN_TOKEN: token }),
    logger: createLogger({ level: 'info', name: 'test' }, { write: (line) => void lines.push(line) }),
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const answer = await send((server.address() as AddressInfo).port, 'GET', '/v1/tenants', { token });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));

  expectProblem(answer, 500, 'internal');
  expect(answer.text).not.toContain('secret inner state');
  const logged = lines.map((line) => JSON.parse(line)).find((line) => line.msg === 'unexpected error');
  expect(logged).toMatchObject({
    requestId: answer.headers['x-request-id'],
    err: { type: 'TypeError', message: 'the secret inner state', stack: expect.any(String) },
  });
});
