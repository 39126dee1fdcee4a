import { expect } from '@jest/globals';
import { problems } from '../../../../src/shared/errors.ts';
import type { ErrorCode } from '../../../../src/shared/errors.ts';
import type { RawAnswer } from '../raw.ts';

/** What every answer keeps to, whatever was asked: it is one, not a server's fault, and says which request it belongs to. */
export function expectMannerly({ status, head, body }: RawAnswer, method: string): void {
  expect(status).toBeGreaterThanOrEqual(200);
  expect(status).toBeLessThan(500);
  expect(head).toMatch(/^x-request-id: [A-Za-z0-9._~-]{1,128}$/im);
  expect(head).not.toMatch(/^x-injected/im);
  if (status < 400) return;
  // The dashboard's login is a page.
  if (/^content-type: text\/html/im.test(head)) {
    expect(head).toMatch(/^content-security-policy: .*script-src 'self'/im);
    return;
  }
  expect(head).toMatch(/^content-type: application\/problem\+json/im);
  if (method === 'HEAD') return;
  const problem = JSON.parse(body) as { code: string; status: number; instance: string };
  expect({ status, code: problem.code }).toEqual({
    status: problems[problem.code as ErrorCode]?.status,
    code: problem.code,
  });
  expect(problem.status).toBe(status);
  expect(head.toLowerCase()).toContain(`x-request-id: ${problem.instance.toLowerCase()}`);
}
