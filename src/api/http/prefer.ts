/** How long a caller may hold a request open, in seconds. */
export const MAX_WAIT_SECONDS = 60;

/**
 * The `wait` preference (RFC 7240, section 4.3) in seconds, at most {@link MAX_WAIT_SECONDS}; undefined when there is
 * none. The first one counts, and one that makes no sense is as if it was not there (section 2).
 */
export function preferredWaitSeconds(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  for (const preference of header.split(',')) {
    const [name, value] = (preference.split(';')[0] ?? '').split('=');
    if (name?.trim().toLowerCase() !== 'wait') continue;
    const seconds = /^\s*"?(\d{1,9})"?\s*$/.exec(value ?? '')?.[1];
    return seconds === undefined ? undefined : Math.min(Number(seconds), MAX_WAIT_SECONDS);
  }
  return undefined;
}
