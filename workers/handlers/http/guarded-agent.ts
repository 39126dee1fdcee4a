import { lookup as resolve } from 'node:dns';
import type { LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { Agent } from 'undici';
import { isPublicAddress } from './public-address.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** Silence of a target, before its answer and inside it; the job's own time-out bounds the whole. */
const SILENCE_MS = 300_000;

/** The name leads to an address that must not be asked. */
export class RefusedTarget extends Error {
  constructor(hostname: string) {
    super(`${hostname} has an address that is not public`);
    this.name = 'RefusedTarget';
  }
}

/**
 * An agent that looks a name up once, checks every address, and connects to what it checked: a second look-up could
 * answer otherwise. Addresses spelled out in a URL are not looked up, so the caller checks those.
 */
export function createAgent(options: { allowPrivateTargets: boolean }): Agent {
  return new Agent({
    connect: {
      timeout: CONNECT_TIMEOUT_MS,
      ...(options.allowPrivateTargets ? {} : { lookup: guardedLookup }),
    },
    headersTimeout: SILENCE_MS,
    bodyTimeout: SILENCE_MS,
  });
}

const guardedLookup: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, '');
    const [first] = addresses;
    if (first === undefined || !addresses.every(({ address }) => isPublicAddress(address))) {
      return callback(new RefusedTarget(hostname), '');
    }
    if (options.all) return callback(null, addresses);
    return callback(null, first.address, first.family);
  });
};
