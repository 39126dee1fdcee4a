import ipaddr from 'ipaddr.js';

/**
 * Addresses that are global by their range and yet lead into somebody's own network: cloud platforms answer there with
 * credentials and settings of the machine that asks.
 */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set(['168.63.129.16']);

/** IPv6 that is routed on the public internet lies in 2000::/3; the rest is local, mapped, translated or reserved. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');

/** Parts of 2000::/3 that are no ordinary targets: protocol assignments (Teredo, ORCHID, benchmarking) and documentation. */
const SPECIAL_IPV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'].map((range) =>
  ipaddr.IPv6.parseCIDR(range),
);

/**
 * Whether an IP address is a public unicast one. Everything else is refused: private, loopback, link-local, shared,
 * unique local, multicast, reserved, unspecified, and every form that wraps an IPv4 address in an IPv6 one.
 */
export function isPublicAddress(address: string): boolean {
  const [bare = ''] = address.split('%', 1);
  if (!ipaddr.isValid(bare)) return false;
  const parsed = ipaddr.parse(bare);
  if (parsed instanceof ipaddr.IPv4)
    return parsed.range() === 'unicast' && !METADATA_ADDRESSES.has(parsed.toString());
  return (
    parsed.range() === 'unicast' &&
    parsed.match(GLOBAL_IPV6) &&
    !SPECIAL_IPV6.some((range) => parsed.match(range))
  );
}

/** The IP address a URL's host spells out, or null when the host is a name. */
export function literalAddress(hostname: string): string | null {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return ipaddr.isValid(bare) ? bare : null;
}
