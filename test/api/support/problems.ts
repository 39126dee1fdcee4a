import { expect } from '@jest/globals';
import type { Answer } from './api.ts';

/** Checks that an answer is a problem document of the contract with this status and code. */
export function expectProblem(answer: Answer, status: number, code: string): void {
  expect({ status: answer.status, code: answer.json?.code, type: answer.headers['content-type'] }).toEqual({
    status,
    code,
    type: 'application/problem+json; charset=utf-8',
  });
  expect(answer.json).toMatchObject({
    type: `/problems/${code.replaceAll('_', '-')}`,
    status,
    title: expect.any(String),
    detail: expect.any(String),
    instance: answer.headers['x-request-id'],
  });
}
