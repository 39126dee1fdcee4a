import type { UsageWindow } from '../../src/shared/tenant-schemas.ts';
import type { Counts } from './tally.ts';
import { percentiles } from './wait-histogram.ts';
import type { Histogram } from './wait-histogram.ts';

/** One minute, over all shards. */
export interface Minute {
  /** Whole minutes since 1970. */
  minute: number;
  /** What all tenants took together, by starts and by run time that is charged. */
  units: number;
  /** The summed weight of those that took something. */
  weight: number;
  /** What the tenant in question used, and its `weight` if it took something. */
  own: Counts;
}

const MINUTE_MS = 60_000;
const WINDOWS = [1, 5, 60];

/**
 * Sums up the last 1, 5 and 60 whole minutes, each with the minute that runs.
 * @param waitingWeight the tenant's weight if jobs of it could start now, else null: it is entitled to a share of the
 *   minute that runs even if it got nothing. Of the minutes before nobody knows whether something waited.
 */
export function windowsOf(
  minutes: readonly Minute[],
  running: number,
  waitingWeight: number | null,
): UsageWindow[] {
  const contending = minutes.map((minute) =>
    minute.minute === running && waitingWeight !== null ? contendingIn(minute, waitingWeight) : minute,
  );
  return WINDOWS.map((length) => {
    const first = running - length;
    const within = contending.filter(({ minute }) => minute >= first && minute <= running);
    return windowOf(within, length, first);
  });
}

function contendingIn(minute: Minute, weight: number): Minute {
  if (minute.own['weight'] !== undefined) return minute;
  return { ...minute, weight: minute.weight + weight, own: { ...minute.own, weight } };
}

function windowOf(minutes: readonly Minute[], length: number, first: number): UsageWindow {
  const sum = (name: string): number => minutes.reduce((all, { own }) => all + (own[name] ?? 0), 0);
  const [p50 = null, p95 = null, p99 = null] = percentiles(waitsOf(minutes), [0.5, 0.95, 0.99]);
  return {
    windowMs: length * MINUTE_MS,
    since: new Date(first * MINUTE_MS).toISOString(),
    started: sum('started'),
    finished: { completed: sum('completed'), failed: sum('failed') },
    share: shareOf(minutes, sum('units')),
    waitMs: { p50, p95, p99 },
  };
}

function shareOf(minutes: readonly Minute[], received: number): UsageWindow['share'] {
  const all = minutes.reduce((sum, { units }) => sum + units, 0);
  if (all === 0) return { received: null, entitled: null };
  // A minute counts as much as was shared out in it.
  const entitled = minutes.reduce((sum, { units, weight, own }) => {
    return sum + (own['weight'] === undefined ? 0 : (units * own['weight']) / weight);
  }, 0);
  // Sums of fractions may pass 1 in their last digit.
  return { received: Math.min(received / all, 1), entitled: Math.min(entitled / all, 1) };
}

/** A busy tenant has some thousand counts in an hour. */
function waitsOf(minutes: readonly Minute[]): Histogram {
  const merged: Histogram = new Map();
  for (const { own } of minutes) {
    for (const name of Object.keys(own)) {
      if (!name.startsWith('w') || name === 'weight') continue;
      const bucket = Number(name.slice(1));
      merged.set(bucket, (merged.get(bucket) ?? 0) + (own[name] ?? 0));
    }
  }
  return merged;
}
