/** A group that may start its next job and stands in the ring. */
export interface Contender {
  group: string;
  weight: number;
}

interface Lead {
  now: number;
  least: number;
  most: number;
}

/**
 * Holds the shares of one queue to their bound: over any stretch in which two groups contend without interruption, what
 * the jobs they start cost, divided by their weights, differs by no more than 2 (cost / weight + other cost / other weight),
 * where a group's cost is that of its dearest job so far, which it may still owe, and at least that of a plain one.
 */
export class ShareWatch {
  #contenders = new Map<string, number>();
  /** `<group> <other>` with group < other -> how far the first is ahead. */
  #leads = new Map<string, Lead>();
  readonly #dearest = new Map<string, number>();

  /** Says who contends from now on. `interrupted`: whoever did not at some moment since the last call. */
  contend(contenders: readonly Contender[], interrupted: ReadonlySet<string>): void {
    const now = new Map(contenders.map(({ group, weight }) => [group, weight]));
    const goesOn = (group: string): boolean =>
      now.has(group) && now.get(group) === this.#contenders.get(group) && !interrupted.has(group);
    const leads = new Map<string, Lead>();
    for (const [one, other, name] of pairsOf([...now.keys()])) {
      const before = goesOn(one) && goesOn(other) ? this.#leads.get(name) : undefined;
      leads.set(name, before ?? { now: 0, least: 0, most: 0 });
    }
    this.#contenders = now;
    this.#leads = leads;
  }

  /** A job of the group started. Returns what is wrong with the shares then. */
  served(group: string, cost: number): string[] {
    const wrong: string[] = [];
    this.#dearest.set(group, Math.max(this.#dearestOf(group), cost));
    for (const [one, other, name] of pairsOf([...this.#contenders.keys()])) {
      const lead = this.#leads.get(name);
      if (!lead || (one !== group && other !== group)) continue;
      lead.now += ((one === group ? 1 : -1) * cost) / (this.#contenders.get(group) ?? 1);
      lead.least = Math.min(lead.least, lead.now);
      lead.most = Math.max(lead.most, lead.now);
      const bound = 2 * (this.#turnOf(one) + this.#turnOf(other));
      if (lead.most - lead.least > bound + 1e-9)
        wrong.push(`shares of ${JSON.stringify([one, other])} moved by ${lead.most - lead.least} > ${bound}`);
    }
    return wrong;
  }

  /** How far one job moves a group at most. */
  #turnOf(group: string): number {
    return this.#dearestOf(group) / (this.#contenders.get(group) ?? 1);
  }

  #dearestOf(group: string): number {
    return this.#dearest.get(group) ?? 1;
  }
}

function pairsOf(groups: string[]): [string, string, string][] {
  const sorted = groups.sort();
  return sorted.flatMap((one, i) =>
    sorted.slice(i + 1).map((other): [string, string, string] => [one, other, JSON.stringify([one, other])]),
  );
}
