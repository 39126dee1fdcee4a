import { hash, timingSafeEqual } from 'node:crypto';
import type { CredentialCheck } from './caller.ts';

/** A test for the admin token whose time says nothing about how much of it was right, nor about its length. */
export function adminTokenMatcher(adminToken: string): (token: string) => boolean {
  const expected = sha256(adminToken);
  return (token) => timingSafeEqual(sha256(token), expected);
}

export function adminTokenCheck(adminToken: string): CredentialCheck {
  const matches = adminTokenMatcher(adminToken);
  return (token) => (matches(token) ? { kind: 'admin' } : null);
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
