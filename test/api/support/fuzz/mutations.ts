import fc from 'fast-check';
import { entriesOf, Fields, jsonBytes, Verbatim } from './json-text.ts';
import { nastyText, nastyValue } from './nasty.ts';

/** One change of a value, at one of its parts. `part` and `field` count round: any number names something. */
interface Mutation {
  part: number;
  field: number;
  change: 'replace' | 'add' | 'drop' | 'repeat' | 'wrap';
  name: string;
  value: unknown;
  depth: number;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  part: fc.nat(1000),
  field: fc.nat(50),
  change: fc.constantFrom('replace', 'replace', 'add', 'drop', 'repeat', 'wrap'),
  name: fc.oneof(
    nastyText,
    fc.constantFrom('tenant', 'id', 'jobId', 'opts', 'parent', 'state', 'prefix', 'repeat', '__proto__'),
  ),
  value: nastyValue,
  depth: fc.constantFrom(1, 2, 151, 250, 5001),
});

/** Values of `valid`: as they are, or with a few parts that are not what they should be. */
export function mutated(valid: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc
    .tuple(valid, fc.oneof(fc.constant([]), fc.array(mutation, { minLength: 1, maxLength: 3 })))
    .map(([value, mutations]) => mutations.reduce(applied, value));
}

function applied(value: unknown, one: Mutation): unknown {
  return changedAt(value, { left: one.part % partsOf(value) }, one);
}

function partsOf(value: unknown): number {
  return childrenOf(value).reduce((sum: number, child) => sum + partsOf(child), 1);
}

function childrenOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : (entriesOf(value) ?? []).map(([, member]) => member);
}

/** Walks to the part at which `left` is used up, and rebuilds what is above it. */
function changedAt(value: unknown, place: { left: number }, one: Mutation): unknown {
  if (place.left-- === 0) return changed(value, one);
  if (Array.isArray(value)) {
    return value.map((item: unknown) => (place.left < 0 ? item : changedAt(item, place, one)));
  }
  const entries = entriesOf(value);
  if (entries === undefined) return value;
  return new Fields(
    entries.map(([name, member]) => [name, place.left < 0 ? member : changedAt(member, place, one)] as const),
  );
}

function changed(part: unknown, { change, field, name, value, depth }: Mutation): unknown {
  const entries = entriesOf(part);
  if (change === 'wrap') return nested(part, depth);
  if (entries === undefined || change === 'replace') return value;
  const chosen = entries.length === 0 ? -1 : field % entries.length;
  if (change === 'drop') return new Fields(entries.filter((_, place) => place !== chosen));
  const repeated = entries[chosen]?.[0] ?? name;
  return new Fields([...entries, [change === 'add' ? name : repeated, value]]);
}

/** As bytes at once: a value nested so deep would overflow whoever walks it. */
function nested(part: unknown, depth: number): Verbatim {
  const [open, close] = depth % 2 === 0 ? ['[', ']'] : ['{"a":', '}'];
  return new Verbatim(
    Buffer.concat([Buffer.from(open.repeat(depth)), jsonBytes(part), Buffer.from(close.repeat(depth))]),
  );
}
