import { expect, test } from '@jest/globals';
import type { Request, Response } from 'express';
import { dashboardSessions } from '../../src/dashboard/session.ts';

const TOKEN = 'the admin token of the test';

/** The cookie `start` sets, as a browser would send it back. */
function cookieOf(sessions: ReturnType<typeof dashboardSessions>): { header: string; options: object } {
  let header = '';
  let options = {};
  const res = {
    cookie: (name: string, value: string, given: object) => (
      (header = `${name}=${value}`),
      (options = given)
    ),
  };
  sessions.start({ secure: false, headers: {} } as unknown as Request, res as unknown as Response);
  return { header, options };
}

const bringing = (cookie: string): Request => ({ headers: { cookie } }) as unknown as Request;

test('a session holds until its time is over, on every server with the same admin token', () => {
  let time = 1_000_000;
  const sessions = dashboardSessions(TOKEN, '/dashboard', () => time);
  const { header, options } = cookieOf(sessions);
  expect(options).toMatchObject({
    httpOnly: true,
    sameSite: 'strict',
    path: '/dashboard',
    maxAge: 8 * 3_600_000,
  });
  expect(sessions.holds(bringing(`other=1; ${header}; last=2`))).toBe(true);
  expect(dashboardSessions(TOKEN, '/dashboard', () => time).holds(bringing(header))).toBe(true);
  expect(
    dashboardSessions('another token of the admin', '/dashboard', () => time).holds(bringing(header)),
  ).toBe(false);
  time += 8 * 3_600_000;
  expect(sessions.holds(bringing(header))).toBe(false);
});

test('a cookie that was changed anywhere holds nothing', () => {
  const sessions = dashboardSessions(TOKEN, '/dashboard', () => 0);
  const { header } = cookieOf(sessions);
  for (let at = 'waggle_dashboard='.length; at < header.length - 1; at++) {
    const changed = header.slice(0, at) + (header[at] === 'A' ? 'B' : 'A') + header.slice(at + 1);
    expect(sessions.holds(bringing(changed))).toBe(false);
  }
  for (const cookie of [
    '',
    'waggle_dashboard',
    'waggle_dashboard=',
    'waggle_dashboard=9..',
    'waggle_dashboard=9999999999999.x.',
  ]) {
    expect(sessions.holds(bringing(cookie))).toBe(false);
  }
});
