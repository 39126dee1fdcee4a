/** Compares the keys of a prefix with the model: every invariant, as sentences about what is wrong. */
import { brokenInvariants, fairStateOf, pairs } from './keyspace.ts';
import type { FairState, Snapshot } from './keyspace.ts';
import { nameOf } from './scheduler-model.ts';
import type { SchedulerModel } from './scheduler-model.ts';

/** The score in `park` of a group that waits for an event. */
const HELD_US = 2 ** 52;
const SLACK_MS = 30_000;

/** What the walk knows and neither the keys nor the model tell. */
export interface Circumstances {
  prefix: string;
  groups: readonly string[];
  keys: readonly string[];
  /** How far the times in Redis have been moved into the past, as if so much time had gone by. */
  advancedMs: number;
  /** Queues in which a worker has taken a marker that nobody owes to set again. */
  isUnmarked: (queue: string) => boolean;
  /** Ids (`<queue>:<id>`) whose hash was deleted at some time. */
  vanished: ReadonlySet<string>;
}

export function problemsOf(keys: Snapshot, model: SchedulerModel, about: Circumstances): string[] {
  const problems = model.queues.flatMap((queue) => {
    const base = `${about.prefix}:${queue}:`;
    const state = fairStateOf(keys, base);
    return [
      ...brokenInvariants(state, true, model.flagsOf(queue)),
      ...ofOrder(state, model, queue),
      ...ofEligibility(state, model, queue, about),
      ...ofKeys(keys, model, queue, about),
      ...ofStates(keys, model, queue, about),
      ...ofMarker(keys, state, model, queue, about),
      ...ofLeftovers(keys, state, model, queue, about),
    ].map((line) => `${queue}: ${line}`);
  });
  return [...problems, ...ofUse(keys, model, about)];
}

function differ(what: string, found: unknown, expected: unknown): string[] {
  const [is, should] = [JSON.stringify(found), JSON.stringify(expected)];
  return is === should ? [] : [`${what}: found ${is}, expected ${should}`];
}

function ofOrder(state: FairState, model: SchedulerModel, queue: string): string[] {
  const groups = [...new Set([...state.groups.keys(), ...model.waitingGroups(queue)])].sort();
  return groups.flatMap((group) => {
    const found = state.groups.get(group)?.map((job) => job.id) ?? [];
    return differ(`order of ${JSON.stringify(group)}`, found, model.order(queue, group));
  });
}

/** In the ring if and only if its next job may run; parked until the time or the event that lets it. */
function ofEligibility(
  state: FairState,
  model: SchedulerModel,
  queue: string,
  about: Circumstances,
): string[] {
  return model.waitingGroups(queue).flatMap((group) => {
    const { may, dueMs, isExact } = model.verdict(queue, group);
    const member = state.ring.find((entry) => entry.group === group);
    const name = JSON.stringify(group);
    if (member) {
      const flags = member.flags & 2 ? 'limited' : 'free';
      return [
        ...(may === 'no' ? [`${name} is in the ring and may not run until ${dueMs}`] : []),
        ...differ(`weight of ${name}`, member.weight, model.book.weight(queue, group)),
        ...differ(`flag of ${name}`, flags, model.book.isLimited(queue, group) ? 'limited' : 'free'),
      ];
    }
    const parkedMs = (state.park.get(group) ?? NaN) / 1000;
    const isRipe = parkedMs <= Date.now();
    if (may === 'yes') return isRipe ? [] : [`${name} may run and is parked until ${parkedMs}`];
    if (may === 'maybe' || !isExact) return [];
    if (dueMs === Infinity)
      return parkedMs * 1000 >= HELD_US ? [] : [`${name} is held and parked until ${parkedMs}`];
    const isThen = Math.abs(parkedMs - (dueMs - about.advancedMs)) < SLACK_MS;
    return isThen ? [] : [`${name} is due at ${dueMs - about.advancedMs} and parked until ${parkedMs}`];
  });
}

function ofKeys(keys: Snapshot, model: SchedulerModel, queue: string, about: Circumstances): string[] {
  const at = (name: string): string[] => keys.get(`${about.prefix}:${queue}:fair:${name}`)?.content ?? [];
  const [blockedOf, names]: [Record<string, string>, string[]] = [{}, []];
  const problems = about.groups.flatMap((group) =>
    about.keys.flatMap((key) => {
      const name = `${Buffer.byteLength(group)}:${group}${key}`;
      const blocked = model.blocked(queue, group, key);
      if (blocked.length > 0) {
        blockedOf[group] = String(Number(blockedOf[group] ?? 0) + blocked.length);
        names.push(name);
      }
      return [
        ...differ(`blocked by ${JSON.stringify(name)}`, pairs(at(`kw::${name}`)).map(first), blocked),
        ...differ(`holders of ${name}`, at(`kh::${name}`).sort(), model.holders(queue, group, key)),
      ];
    }),
  );
  const entries =
    model.in(queue, 'blocked').length +
    [...model.jobs.values()].filter((job) => job.queue === queue && job.holder).length;
  return [
    ...problems,
    ...differ('kb', sorted(pairs(at('kb'))), sorted(Object.entries(blockedOf))),
    ...differ('bk', pairs(at('bk')).map(first).sort(), names.sort()),
    ...differ('entries of kj', pairs(at('kj')).length, entries),
  ];
}

function ofStates(keys: Snapshot, model: SchedulerModel, queue: string, about: Circumstances): string[] {
  const base = `${about.prefix}:${queue}:`;
  const at = (name: string): string[] => keys.get(base + name)?.content ?? [];
  const ids = (...states: Parameters<SchedulerModel['nth']>[1][]): string[] =>
    model
      .in(queue, ...states)
      .map((job) => job.id)
      .sort();
  const locked = model.in(queue, 'active').filter((job) => job.isLocked);
  const locks = [...keys.keys()].filter((key) => key.startsWith(base) && key.endsWith(':lock'));
  const cancelled = model
    .all('active', 'waiting', 'delayed')
    .filter((job) => job.queue === queue && job.cancelAtMs !== null && job.hash === 'whole');
  const cancels = pairs(at('fair:cancels'))
    .map(first)
    .filter((id) => !about.vanished.has(nameOf({ queue, id })));
  const superseded = new Set(pairs(at('fair:superseded')).map(first));
  return [
    ...differ('active', at('active').sort(), ids('active')),
    ...differ('delayed', pairs(at('delayed')).map(first).sort(), ids('delayed')),
    ...differ('waiting for children', pairs(at('waiting-children')).map(first).sort(), ids('children')),
    ...differ('locks', locks.sort(), locked.map((job) => `${base}${job.id}:lock`).sort()),
    ...differ('asked to stop', cancels.sort(), cancelled.map((job) => job.id).sort()),
    ...differ(
      'superseded',
      ids('superseded').filter((id) => !superseded.has(id)),
      [],
    ),
  ];
}

/** Work that may run is announced to workers that sleep; so is the time when there will be some. */
function ofMarker(
  keys: Snapshot,
  state: FairState,
  model: SchedulerModel,
  queue: string,
  about: Circumstances,
): string[] {
  if (model.flagsOf(queue).paused || about.isUnmarked(queue)) return [];
  const marker = pairs(keys.get(`${about.prefix}:${queue}:marker`)?.content ?? []);
  const earliest = Math.min(...marker.map(([, score]) => Number(score)));
  const runs = state.ring.filter((entry) => model.verdict(queue, entry.group).may === 'yes');
  const real = runs.filter((entry) => state.groups.has(entry.group));
  if (real.length > 0) return earliest === 0 ? [] : [`work and no marker: ${JSON.stringify(marker)}`];
  const dueMs = Math.min(...state.park.values()) / 1000;
  if (state.ring.length > 0 || dueMs * 1000 >= HELD_US) return [];
  return earliest <= dueMs + SLACK_MS ? [] : [`parked until ${dueMs} and marked ${JSON.stringify(marker)}`];
}

/** Nothing is left of jobs that are gone, and nothing of the scheduler when nothing waits. */
function ofLeftovers(
  keys: Snapshot,
  state: FairState,
  model: SchedulerModel,
  queue: string,
  about: Circumstances,
): string[] {
  const base = `${about.prefix}:${queue}:`;
  const finished = ['completed', 'failed'].flatMap((name) =>
    pairs(keys.get(base + name)?.content ?? []).map(first),
  );
  const known = new Set([
    ...finished,
    ...model.queues
      .flatMap((each) => (each === queue ? [...model.jobs.values()] : []))
      .filter((job) => job.queue === queue)
      .map((job) => job.id),
  ]);
  const strays = [...keys.keys()].filter((key) => {
    const id = key.startsWith(base) ? key.slice(base.length) : '';
    return /^\d+$/.test(id) && !known.has(id) && !about.vanished.has(nameOf({ queue, id }));
  });
  const isEmpty =
    model.in(queue, 'waiting', 'blocked').length === 0 && state.ring.length + state.park.size === 0;
  const left = ['ring', 'park', 'idx', 'fin', 'n', 'kb', 'bk'].filter((name) =>
    keys.has(`${base}fair:${name}`),
  );
  const timed = pairs(keys.get(`${base}meta`)?.content ?? []).filter(([field]) => field === 'fair:due');
  return [
    ...differ('hashes of jobs that are gone', strays, []),
    ...(isEmpty ? differ('keys of an empty queue', left, []) : []),
    ...(isEmpty ? differ('due time of an empty queue', timed, []) : []),
  ];
}

/** Slots, what each group uses of its limits, and that this goes when nothing of it is left. */
function ofUse(keys: Snapshot, model: SchedulerModel, about: Circumstances): string[] {
  const slots = model.slots();
  const problems = differ(
    'slots',
    sorted(pairs(keys.get(`${about.prefix}::fair:slots`)?.content ?? [])),
    sorted(Object.entries(slots)),
  );
  for (const group of about.groups) {
    const { content = [], ttlMs = 0 } = keys.get(`${about.prefix}::fair:state:${group}`) ?? {};
    const use = Object.fromEntries(pairs(content));
    const held = Object.entries(slots).filter(([, each]) => each === group);
    problems.push(...differ(`running of ${JSON.stringify(group)}`, Number(use['run'] ?? 0), held.length));
    let isWaiting = false;
    for (const queue of model.queues) {
      const here = held.filter(([field]) => field.startsWith(`${queue}:`)).length;
      problems.push(
        ...differ(`running of ${JSON.stringify(group)} in ${queue}`, Number(use[`run:${queue}`] ?? 0), here),
      );
      if (model.flagsOf(queue).ghosts.has(group)) isWaiting = true;
      else if (`w:${queue}` in use || model.book.isLimited(queue, group)) {
        const waits = model.order(queue, group).length > 0;
        isWaiting ||= waits;
        problems.push(...differ(`mark of ${JSON.stringify(group)} in ${queue}`, `w:${queue}` in use, waits));
      }
    }
    if (content.length > 0 && held.length === 0 && !isWaiting && ttlMs < 0)
      problems.push(`the idle group ${JSON.stringify(group)} keeps ${JSON.stringify(use)}`);
  }
  return problems;
}

const first = ([item]: [string, string]): string => item;
const sorted = (entries: [string, string][]): [string, string][] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
