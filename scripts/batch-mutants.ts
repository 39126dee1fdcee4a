import type { Mutant } from './mutant.ts';

const ring = 'queues/fair/lua/ring';
const turns = 'test/queues/fair/turn-batches';
const plainLimits = 'test/queues/fair/plain-limits';
const batches = 'test/queues/fair/batches.test';
const batchWalk = 'test/queues/fair/batches.property';

/** Faults in how the jobs of one turn are added, end, and start the next ones together. */
export const batchMutants: readonly Mutant[] = [
  {
    file: 'queues/fair/turn-batches.ts',
    from: 'const AT_ONCE = 16;',
    to: 'const AT_ONCE = 17;',
    tests: turns,
  },
  {
    file: 'queues/fair/turn-batches.ts',
    from: 'characters >= CHARACTERS',
    to: 'characters > CHARACTERS',
    tests: turns,
  },
  { file: 'queues/fair/turn-batches.ts', from: '    this.#characters = 0;\n', to: '', tests: turns },
  { file: 'queues/fair/turn-batches.ts', from: 'replies[index]', to: 'replies[0]', tests: turns },
  {
    file: 'queues/fair/turn-batches.ts',
    from: 'for (const { reject } of batch) reject(error);',
    to: 'batch[0]?.reject(error);',
    tests: turns,
  },
  {
    file: `${ring}/pick.lua`,
    from: 'tag == horizon and member > last',
    to: 'tag == horizon',
    tests: batches,
  },
  { file: `${ring}/pick.lua`, from: 'if horizon and (', to: 'if false and (', tests: batches },
  {
    file: `${ring}/pick.lua`,
    from: 'tonumber(front[i + 1]) == tag and front[i] < member',
    to: 'tonumber(front[i + 1]) == tag',
    tests: batches,
  },
  { file: `${ring}/pick.lua`, from: '      moves[member] = nil\n', to: '', tests: batches },
  {
    file: `${ring}/pick.lua`,
    from: '      if not front[at] then\n        commit(base)\n      end\n',
    to: '',
    tests: batches,
  },
  {
    file: `${ring}/pick.lua`,
    from: 'more and due, front[at + 1])',
    to: 'more and due, front[#front])',
    tests: batchWalk,
  },
  {
    file: `${ring}/base.lua`,
    from: "lowest = lowest or native('ZRANGE'",
    to: "lowest = native('ZRANGE'",
    tests: batchWalk,
  },
  { file: `${ring}/pick.lua`, from: '    plain = 0\n', to: '', tests: batches },
  { file: `${ring}/pick.lua`, from: '% 16 < plain or remind', to: '% 16 == 0 or remind', tests: batches },
  { file: `${ring}/pick.lua`, from: 'if ahead < 1 then', to: 'if ahead < 0 then', tests: batches },
  {
    file: `${ring}/pick.lua`,
    from: '      commit(base)\n      front = {}\n',
    to: '      front = {}\n',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'fetch(ARGV[i + 2])',
    to: 'fetch(ARGV[6])',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: "if ARGV[i + 4] == '1' then",
    to: 'if true then',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'i > last and -203 or replies[i] or 0',
    to: 'i > last and -203 or replies[i] or all[#all] or 0',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'none = none or not next and nothing()',
    to: 'none = nothing()',
    tests: batchWalk,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: "if ending > 0 and native('EXISTS'",
    to: "if native('EXISTS'",
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'ending = ending + (replies[i] == 0 and 1 or 0)',
    to: "ending = native('EXISTS', activeKey) == 0 and native('XADD', eventsKey, '*', 'event', 'drained') and 1 or ending",
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if leaving > 0 and',
    to: 'if fetching == 0 and leaving > 0 and',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: "gated.aside and native('HGET', base .. 'meta', 'fair:aside')",
    to: 'gated.aside',
    tests: batches,
  },
  { file: 'queues/fair/lua/complete.lua', from: 'i > last and -203 or ', to: '', tests: batches },
  { file: 'queues/fair/lean-backend.ts', from: 'if (taken > 0) {', to: 'if (taken > 100) {', tests: batches },
  {
    file: `${ring}/limits.lua`,
    from: "and native('HLEN', key) == (state[1] and 1 or 0) + (state[2] and 1 or 0) then",
    to: 'then',
    tests: plainLimits,
  },
  {
    file: 'queues/fair/lean-backend.ts',
    from: 'return reply.map((each',
    to: 'return reply.reverse().map((each',
    tests: batches,
  },
  {
    file: 'queues/fair/lean-backend.ts',
    from: 'Promise<string[]> {\n    this.#adds.flush();',
    to: 'Promise<string[]> {',
    tests: batches,
  },
  {
    file: 'queues/fair/lean-backend.ts',
    from: '      this.#adds.flush();\n      return super',
    to: '      return super',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/add.lua',
    from: 'unplaced[#unplaced + 1] =',
    to: 'unplaced[1] =',
    tests: batches,
  },
  {
    file: 'queues/fair/lua/add-place.lua',
    from: 'wakes = wakes or mayRun and tell',
    to: 'wakes = mayRun and tell',
    tests: batches,
  },
  // What several ends and starts of one call share.
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if someWait and',
    to: 'if false and',
    tests: 'test/queues/fair/keys.property',
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'holders[n])',
    to: 'ARGV[i + 2])',
    tests: batches,
  },
  {
    file: `${ring}/base.lua`,
    from: "local were = native('HMGET', key, unpack(fields))\n  native('HDEL', key, unpack(fields))",
    to: "local were = native('HMGET', key, unpack(fields))",
    tests: plainLimits,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if ofSlot[i] and hadSlot[ofSlot[i]] then',
    to: 'if ofSlot[i] then',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'foreseen[groups[i]] = texts[i]',
    to: 'foreseen[groups[i]] = texts[2]',
    tests: plainLimits,
  },
  {
    file: 'queues/fair/lua/claim.lua',
    from: '  if gated then\n    commitClaims(base)\n  end\n',
    to: '',
    tests: plainLimits,
  },
];
