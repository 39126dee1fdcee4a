import type { Rate, Tenant } from '../../shared/tenant-schemas.ts';
import { html } from './html.ts';
import type { Content } from './html.ts';

/** How figures and times are written on the pages. */

const NOTHING = '–';

const UNITS = [
  { name: 'd', ms: 86_400_000 },
  { name: 'h', ms: 3_600_000 },
  { name: 'min', ms: 60_000 },
  { name: 's', ms: 1000 },
  { name: 'ms', ms: 1 },
] as const;

export function counted(count: number): string {
  return count.toLocaleString('en');
}

/** A limit, of which null means that there is none. */
export function limited(limit: number | null | undefined): string {
  return limit == null ? 'none' : counted(limit);
}

/** A time that was measured, to three digits. */
export function lasted(ms: number | null): string {
  if (ms === null) return NOTHING;
  const unit = UNITS.find((each) => ms >= each.ms);
  return unit === undefined ? `${ms} ms` : `${Number((ms / unit.ms).toPrecision(3))} ${unit.name}`;
}

/** A time that was set, to the millisecond. */
export function period(ms: number): string {
  const unit = UNITS.find((each) => ms % each.ms === 0);
  return unit === undefined ? `${ms} ms` : `${counted(ms / unit.ms)} ${unit.name}`;
}

export function paced(rate: Rate | null | undefined): string {
  if (rate == null) return 'none';
  return `${counted(rate.limit)} per ${period(rate.periodMs)}, burst ${counted(rate.burst)}`;
}

/** How much run time counts as one more job. */
export function charged(chargeRunMs: number | null | undefined): string {
  return chargeRunMs == null ? 'none' : period(chargeRunMs);
}

/** A share of 0 to 1; null when nothing was shared out. */
export function shared(share: number | null | undefined): string {
  return share == null ? NOTHING : `${(share * 100).toFixed(1)} %`;
}

/** A time of the clock, UTC. */
export function moment(iso: string | null): Content {
  return iso === null ? NOTHING : html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')}</time>`;
}

export function paused({ paused: isPaused, pausedUntil }: Pick<Tenant, 'paused' | 'pausedUntil'>): Content {
  if (!isPaused) return 'no';
  return html`<strong>${pausedUntil === null ? 'until resumed' : ['until ', moment(pausedUntil)]}</strong>`;
}

/** What callers and handlers wrote: it is kept apart, so that no sign in it turns the direction of what follows. */
export function foreign(text: string): Content {
  return html`<bdi>${text}</bdi>`;
}
