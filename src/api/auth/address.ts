import type { Request } from 'express';
import ipaddr from 'ipaddr.js';

/** Whoever has one IPv6 address has all of its network of this width. */
const NETWORK_PARTS = 4;

/** Where a request comes from, as far as it is worth telling callers apart: an IPv4 address, or the /64 of an IPv6 one. */
export function addressOf(req: Request): string {
  const { ip = '' } = req;
  if (!ipaddr.isValid(ip)) return '';
  const address = ipaddr.process(ip);
  return address instanceof ipaddr.IPv6
    ? address.parts.slice(0, NETWORK_PARTS).join(':')
    : address.toString();
}
