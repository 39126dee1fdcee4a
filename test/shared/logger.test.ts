import { Writable } from 'node:stream';
import { expect, test } from '@jest/globals';
import { createLogger } from '../../src/shared/logger.ts';

test('no secret reaches a line, wherever a record carries it', () => {
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const logger = createLogger({ level: 'info', name: 'api' }, destination);
  const secret = 'wgk_do-not-show';
  logger.info(
    { authorization: secret, token: secret, nested: { secret, password: secret }, kept: 'shown' },
    'one',
  );
  logger.info(
    { req: { method: 'GET', headers: { authorization: secret, cookie: secret, host: 'h' } } },
    'two',
  );
  logger.info({ res: { headers: { 'set-cookie': secret } } }, 'three');
  const refused = Object.assign(new Error('WRONGPASS'), {
    command: { name: 'hello', args: ['AUTH', secret] },
  });
  logger.info({ err: refused }, 'four');
  logger.debug('not at this level');
  expect(lines).toHaveLength(4);
  expect(lines.join('')).not.toContain(secret);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ name: 'api', kept: 'shown', msg: 'one' });
  expect(lines[1]).toContain('"host":"h"');
  expect(lines[3]).toContain('"name":"hello"');
});
