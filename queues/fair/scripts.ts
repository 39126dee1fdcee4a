import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/**
 * How the Lua of the fair backend is put together.
 *
 * Every script of BullMQ's is its own, unchanged, behind a prelude: `ring/` (the scheduler) and `virtual/` (the shadow of
 * redis.call). The hot operations have lean scripts beside them, which serve the plain case and refuse the others; only
 * the parts of the ring that they need stand before them, as each function of a prelude costs every call.
 */

/** A script as BullMQ's RedisConnection defines it: `keys` is the number of KEYS. */
export interface Script {
  readonly name: string;
  readonly content: string;
  readonly keys: number;
}

/**
 * Where jobs without a priority stand among their group's prioritized jobs: `first`, as BullMQ does, or `last`, so
 * that a priority makes a job more urgent (priorities from 524,288 on then count as that).
 */
export type UnprioritizedPlace = 'first' | 'last';

/** What makes one set of scripts differ from another. */
export interface ScriptKind {
  readonly unprioritized: UnprioritizedPlace;
  /** Whether the failed jobs of each group are also kept apart, as a sorted set by their creation. */
  readonly listsFailed: boolean;
}

const lua = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');

/** BullMQ's scripts by name; its package exports no entry for them, so they are read from where it keeps them. */
export function stockScripts(): Map<string, Script> {
  const load = createRequire(import.meta.url);
  const scripts = load('bullmq/dist/cjs/scripts') as Record<string, Script>;
  return new Map(Object.values(scripts).map((script) => [script.name, script]));
}

// Places are integers below 2^53. BullMQ's prioritized jobs take priority * 2^32 + counter; plain ones are counted
// up and down from an origin that leaves 2^51 places on either side.
const bands = {
  first: `
local native = redis.call
local ORIGIN, PLAIN_FROM, PLAIN_TO, HIGHEST = -4503599627370496, -math.huge, 0, math.huge
local PLAIN_MIN, PLAIN_MAX, OTHER_MIN, OTHER_MAX = '-inf', '(0', '0', '+inf'
`,
  last: `
local native = redis.call
local ORIGIN, PLAIN_FROM, PLAIN_TO, HIGHEST = 4503599627370496, 2251799813685248, math.huge, 2251799813685247
local PLAIN_MIN, PLAIN_MAX, OTHER_MIN, OTHER_MAX = '2251799813685248', '+inf', '-inf', '(2251799813685248'
`,
} satisfies Record<UnprioritizedPlace, string>;

/**
 * Lua's garbage collector works while a script runs, and longer in every fiftieth, of whatever client: at its usual pace of 200
 * up to 2 ms of one call. 100 is the slowest at which it surely keeps up. The pace is the server's and stays; as nobody knows
 * which server a script meets, each sets it.
 */
const COLLECTOR = "collectgarbage('setstepmul', 100)";

/** Parts inside one function that builds them on its first call: who meets no such group does not pay for them. */
const lazily = (name: string, parts: string[]): string =>
  `local ${name}Memo\nfunction ${name}()\nif ${name}Memo then return ${name}Memo end\n${parts.map(lua).join('\n')}\nend`;

// Groups' limits and the gates of queues and tasks need each other.
const limits = [
  'local limits, parking, gates',
  lazily('limits', ['ring/limits']),
  lazily('parking', ['ring/options', 'ring/enter', 'ring/parking']),
  lazily('gates', ['ring/enter', 'ring/gates', 'ring/aside']),
].join('\n');
const keys = `local keys\n${lazily('keys', ['ring/options', 'ring/enter', 'ring/keys'])}`;
const times = `local times\n${lazily('times', ['ring/times'])}`;
const virtual = [
  'local shadow = (function()',
  ...['waiting', 'wait', 'active', 'delayed', 'call'].map((name) => lua(`virtual/${name}`)),
  'end)()',
  lua('virtual/redis'),
].join('\n');

/** The parts in the order in which they need each other; `limits`, `keys` and `times` are made above. */
const RING = [
  'ring/base',
  'limits',
  'keys',
  'times',
  'ring/enter',
  'ring/replace',
  'ring/options',
  'ring/take',
  'ring/place',
  'ring/pick',
];

/** What stands before the shadow of redis.call in single scripts of BullMQ's, and behind it. A job may have to be refused or left out. */
const additions: Record<string, { before: string[]; after?: string[] }> = {
  addStandardJob: { before: ['leave-out', 'reject'] },
  addPrioritizedJob: { before: ['leave-out', 'reject'] },
  addDelayedJob: { before: ['leave-out', 'reject'] },
  addParentJob: { before: ['leave-out', 'reject'] },
  obliterate: { before: ['obliterate-superseded'], after: ['obliterate-rest'] },
};

/**
 * When a job of a key stops holding it: `finish`, when it leaves the active list; `remove`, also when it is taken from
 * anywhere else; `keep`, not in this script.
 */
const keyRules: Record<string, 'finish' | 'remove'> = {
  moveToFinished: 'finish',
  failWaiting: 'remove',
  failCancelled: 'finish',
  failActive: 'finish',
  deduplicate: 'remove',
  moveToWaitingChildren: 'finish',
  removeJob: 'remove',
  addStandardJob: 'remove',
  addPrioritizedJob: 'remove',
  addDelayedJob: 'remove',
  addParentJob: 'remove',
  addJobScheduler: 'remove',
  removeJobScheduler: 'remove',
  removeUnprocessedChildren: 'remove',
  cleanJobsInSet: 'remove',
  drain: 'remove',
  obliterate: 'remove',
};

const part = (name: string): string => ({ limits, keys, times, virtual })[name] ?? lua(name);

const composed = new Map<string, Script[]>();

/** All scripts of the fair backend: BullMQ's under their own names, and those of its own. */
export function fairScripts(kind: ScriptKind): Script[] {
  const name = kindName(kind);
  const scripts = composed.get(name) ?? composeScripts(kind);
  composed.set(name, scripts);
  return scripts;
}

/** Of the scripts of this kind. */
export function kindName({ unprioritized, listsFailed }: ScriptKind): string {
  return listsFailed ? `${unprioritized}-failed` : unprioritized;
}

function stockScript(stock: ReadonlyMap<string, Script>, name: string): Script {
  const found = stock.get(name);
  if (found) return found;
  throw new Error(`BullMQ has no script ${name}: its version does not fit the fair backend`);
}

function composeScripts({ unprioritized, listsFailed }: ScriptKind): Script[] {
  const stock = stockScripts();
  const [finish, reprocess] = [stockScript(stock, 'moveToFinished'), stockScript(stock, 'reprocessJob')];

  const script = (name: string, keyCount: number, parts: string[], last = ''): Script => {
    const rule = `local KEY_RULE, LISTS_FAILED = '${keyRules[name] ?? 'keep'}', ${listsFailed}`;
    const content = [COLLECTOR, bands[unprioritized], rule, ...parts.map(part), last].join('\n');
    return { name, keys: keyCount, content };
  };
  const bullmq = [...stock.values()].filter(({ name }) => !name.startsWith('relay'));
  return [
    ...bullmq.map(({ name, keys: keyCount, content }) => {
      const { before = [], after = [] } = additions[name] ?? {};
      return script(name, keyCount, [...RING, ...before, 'virtual', ...after], content);
    }),
    script('add', 1, [
      'add',
      'ring/base',
      'limits',
      'keys',
      'ring/enter',
      'ring/replace',
      'ring/options',
      'add-place',
    ]),
    script('start', 1, ['ring/base', 'limits', 'times', 'ring/pick', 'claim', 'start']),
    script('complete', 1, ['ring/base', 'limits', 'keys', 'times', 'ring/pick', 'claim', 'complete']),
    script('failWaiting', finish.keys, [...RING, 'virtual', 'fail-waiting'], finish.content),
    script('failCancelled', finish.keys, [...RING, 'fail-cancelled', 'virtual'], finish.content),
    script('failActive', finish.keys, [...RING, 'fail-active', 'virtual'], finish.content),
    script('deduplicate', 3, [...RING, 'virtual', 'deduplicate']),
    script('cancel', 1, ['cancel']),
    script('dueCancels', 3, ['due-cancels']),
    script('supersede', 1, [...RING, 'supersede']),
    script('revive', reprocess.keys, [...RING, 'virtual', 'revive'], reprocess.content),
    script('amend', 1, [...RING, 'virtual', 'amend']),
    script('explain', 1, [...RING, 'explain']),
    script('setLimits', 2, [...RING, 'set-limits']),
    script('settleGroups', 1, [...RING, 'settle-groups']),
    script('reserveRoom', 2, ['ring/base', 'reserve-room']),
    script('changeGates', 2, [...RING, 'change-gates']),
    script('countActive', 1, ['ring/options', 'count-active']),
    script('wake', 2, ['wake']),
    script('repairKeys', 1, [...RING, 'repair-keys']),
    script('repairPark', 1, [...RING, 'repair-park']),
    script('repairSlots', 1, [...RING, 'repair-slots']),
    script('adoptSlots', 1, [...RING, 'adopt-slots']),
    script('line', 2, ['ring/base', 'line']),
    script('runnableWeight', 1, ['ring/base', 'runnable-weight']),
  ];
}
