import { isTenantId } from '../../src/shared/ids.ts';
import { bucketOf } from './wait-histogram.ts';

/**
 * What a tenant used, as it is stored for a minute: `started`, `units` (what those starts cost, and run time that ended and
 * is charged), `completed`, `failed`, and `w<bucket>` first starts that waited so long (see wait-histogram.ts). What is not
 * there is 0.
 */
export type Counts = Record<string, number>;

export interface TenantCounts {
  tenant: string;
  counts: Counts;
}

/** Far more tenants than start a job in a second; while Redis is away, jobs do not start at all. */
const MOST_TENANTS = 10_000;

/** Sums up what the tenants of one shard use until somebody takes it. Bounded: tenants beyond its size are not counted. */
export class Tally {
  readonly #byTenant = new Map<string, Counts>();

  /** Tenants with something to take. */
  get size(): number {
    return this.#byTenant.size;
  }

  /** @param waitMs from when the job was due to this start; null when it does not tell how long the tenant waits */
  started(tenant: string, units: number, waitMs: number | null): void {
    const counts = this.#countsOf(tenant);
    if (counts === null) return;
    increase(counts, 'started', 1);
    increase(counts, 'units', units);
    if (waitMs !== null) increase(counts, `w${bucketOf(waitMs)}`, 1);
  }

  /** What a run took beyond the units of its start. */
  charged(tenant: string, units: number): void {
    const counts = this.#countsOf(tenant);
    if (counts !== null) increase(counts, 'units', units);
  }

  finished(tenant: string, outcome: 'completed' | 'failed'): void {
    const counts = this.#countsOf(tenant);
    if (counts !== null) increase(counts, outcome, 1);
  }

  /** Takes out the tenants first seen: one, and more of them as long as both bounds hold. */
  take(most: { tenants: number; counts: number }): TenantCounts[] {
    const taken: TenantCounts[] = [];
    let size = 0;
    for (const [tenant, counts] of this.#byTenant) {
      size += Object.keys(counts).length;
      if (taken.length > 0 && (size > most.counts || taken.length >= most.tenants)) break;
      taken.push({ tenant, counts });
      this.#byTenant.delete(tenant);
    }
    return taken;
  }

  /** Jobs that were put into a queue by other means than the engine may name anything: that is nobody's usage. */
  #countsOf(tenant: string): Counts | null {
    const known = this.#byTenant.get(tenant);
    if (known !== undefined) return known;
    if (this.#byTenant.size >= MOST_TENANTS || !isTenantId(tenant)) return null;
    const counts: Counts = {};
    this.#byTenant.set(tenant, counts);
    return counts;
  }
}

function increase(counts: Counts, name: string, by: number): void {
  counts[name] = (counts[name] ?? 0) + by;
}
