/**
 * Times in buckets whose bounds grow by a constant factor, so that a percentile taken from them is off by no more than
 * a tenth, whatever its size, and histograms merge by adding counts. (The idea of DDSketch: Masson, Rim, Lee 2019.)
 */

/** Number of a bucket -> how many times fell into it. */
export type Histogram = Map<number, number>;

/** Of whole milliseconds the middle of a bucket is off by 8.4 % at most. */
const GROWTH = 1.15;
const LOG_GROWTH = Math.log(GROWTH);
/** Powers are not exact: without it the first time of a bucket could be counted into the one before. */
const SLACK = 1e-9;
/** The last one begins after 250 years. */
const LAST_BUCKET = 200;

/** The bucket of a time in ms; what is less than 1 ms, or before it was due by another clock, is in bucket 0. */
export function bucketOf(ms: number): number {
  const whole = Math.floor(ms);
  if (!(whole >= 1)) return 0;
  return Math.min(1 + Math.floor(Math.log(whole) / LOG_GROWTH + SLACK), LAST_BUCKET);
}

/** The time in whole ms that stands for all times in a bucket. */
function timeOf(bucket: number): number {
  if (bucket === 0) return 0;
  const first = Math.ceil(GROWTH ** (bucket - 1) - SLACK);
  const last = Math.ceil(GROWTH ** bucket - SLACK) - 1;
  return Math.round(Math.sqrt(first * Math.max(first, last)));
}

/**
 * The times below or at which these shares of all times lie (nearest rank), in ms.
 * @returns null for each when there are no times
 */
export function percentiles(histogram: Histogram, shares: readonly number[]): (number | null)[] {
  const buckets = [...histogram].sort(([one], [other]) => one - other);
  const total = buckets.reduce((sum, [, count]) => sum + count, 0);
  return shares.map((share) => {
    let left = Math.max(Math.ceil(share * total), 1);
    const found = buckets.find(([, count]) => (left -= count) <= 0);
    return found === undefined ? null : timeOf(found[0]);
  });
}
