import { batchMutants } from './batch-mutants.ts';
import type { Mutant } from './mutant.ts';

const ring = 'queues/fair/lua/ring';
const limits = 'test/queues/fair/limits.property';
const plainLimits = 'test/queues/fair/plain-limits';
const keyTests = 'test/queues/fair/keys.test';
const keys = 'test/queues/fair/keys.property';
const fairness = 'test/queues/fair/fairness.property';
const twins = 'test/queues/fair/twins.property';
const scheduler = 'test/queues/fair/scheduler.property';
const found = 'test/queues/fair/found';
const stalled = 'test/queues/fair/stalled';
const charges = 'test/queues/fair/charges';
const room = 'test/queues/tenants/room';
const defaults = 'test/queues/fair/default-limits';
const arbiter = 'test/workers/runtime/arbiter';
const gateWalk = 'test/queues/fair/gates.property';
const gates = 'test/queues/fair/gates.test';
const balancing = 'test/queues/overall';

export const mutants: readonly Mutant[] = [
  ...batchMutants,
  // Shares
  { file: `${ring}/pick.lua`, from: 'cost * UNIT / weight', to: 'cost * UNIT', tests: fairness },
  {
    file: `${ring}/pick.lua`,
    from: 'charge = charge - owed',
    to: 'charge = math.max(charge - 4 * owed, 1)',
    tests: fairness,
  },
  {
    file: `${ring}/base.lua`,
    from: 'if finish > tonumber(lowest) then',
    to: 'if false then',
    tests: fairness,
  },
  { file: `${ring}/enter.lua`, from: 'if finish > start then', to: 'if false then', tests: fairness },
  {
    file: `${ring}/enter.lua`,
    from: "start = activation > 1 and tonumber(native('HGET', base .. 'fair:n', 'v') or nil) or 0",
    to: 'start = 0',
    tests: found,
  },
  { file: `${ring}/take.lua`, from: "native('ZREM', q, jobId)", to: "native('EXISTS', q)", tests: fairness },
  {
    file: `${ring}/place.lua`,
    from: "ORIGIN - native('HINCRBY', base .. 'fair:n', 'f', '1')",
    to: "ORIGIN + native('HINCRBY', base .. 'fair:n', 'f', '1')",
    tests: fairness,
  },
  {
    file: `${ring}/enter.lua`,
    from: 'return tag > now and now + math.floor((tag - now) * old / weight) or tag',
    to: 'return tag',
    tests: fairness,
  },
  {
    file: `${ring}/enter.lua`,
    from: 'rescaled(tonumber(found[1]), now, -found[2], weight)',
    to: 'tonumber(found[1])',
    tests: found,
  },
  // Limits
  {
    file: `${ring}/limits.lua`,
    from: 'if gate.max and gate.run >= gate.max then',
    to: 'if gate.max and gate.run > gate.max then',
    tests: limits,
  },
  {
    file: `${ring}/limits.lua`,
    from: "native('HSET', use.key, 'held', '1')",
    to: '',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'gate.tat - gate.ahead',
    to: 'gate.tat - gate.ahead - gate.every',
    tests: limits,
  },
  { file: `${ring}/limits.lua`, from: 'parking().settleElsewhere(use)', to: '', tests: found },
  // Limits of `*`, while not all groups know of them
  {
    file: `${ring}/pick.lua`,
    from: '(unsettled and lowestSettled or lowestOf)(base)',
    to: 'lowestOf(base)',
    tests: defaults,
  },
  {
    file: `${ring}/pick.lua`,
    from: 'use.limited and tonumber(use.weight) == tonumber(weight)',
    to: 'use.limited',
    tests: defaults,
  },
  { file: 'queues/fair/lua/start.lua', from: 'unsettled = meta[8]', to: '', tests: defaults },
  { file: 'queues/fair/lua/complete.lua', from: 'unsettled = meta[10]', to: '', tests: defaults },
  { file: 'queues/fair/lua/virtual/wait.lua', from: 'unsettled = meta[4]', to: '', tests: defaults },
  {
    file: 'queues/fair/lua/settle-groups.lua',
    from: "'fair:unsettled') == ARGV[4] then",
    to: "'fair:unsettled') then",
    tests: defaults,
  },
  {
    file: 'queues/fair/lua/set-limits.lua',
    from: "native('EXISTS', base .. 'fair:idx') == 1",
    to: 'true',
    tests: defaults,
  },
  { file: 'queues/fair/repairs.ts', from: "if (mark !== '')", to: "if (mark === '-')", tests: defaults },
  // Limits, where they are plain
  {
    file: `${ring}/limits.lua`,
    from: 'if not (limit.m and run >= limit.m)',
    to: 'if not (limit.m and run > limit.m)',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: '(every and tat - ahead > now())',
    to: '(every and tat - ahead > now() + every)',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'limit.m and run >= limit.m or limit.e and',
    to: 'limit.e and',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: ' or limit.e and tat - (limit.t or 0) > now() then',
    to: ' then',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'if limit.e and not free then',
    to: 'if limit.e then',
    tests: plainLimits,
  },
  { file: `${ring}/limits.lua`, from: 'elseif not more then', to: 'elseif false then', tests: plainLimits },
  {
    file: `${ring}/limits.lua`,
    from: 'limit.isPlain = not (limit.u or',
    to: 'limit.isPlain = not (',
    tests: plainLimits,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'limit.u or limit.c or',
    to: 'limit.u or',
    tests: charges,
  },
  { file: `${ring}/limits.lua`, from: 'limit.c or limit.q)', to: 'limit.c)', tests: plainLimits },
  {
    file: 'queues/fair/repairs.ts',
    from: "    { place: 'bk', steps: 50, cursor: '0' },\n",
    to: '',
    tests: keyTests,
  },
  { file: 'queues/fair/repairs.ts', from: 'steps: Infinity', to: 'steps: 3', tests: keyTests },
  {
    file: `${ring}/parking.lua`,
    from: 'if due and tonumber(due) >= HELD then',
    to: 'if false then',
    tests: found,
  },
  {
    file: `${ring}/limits.lua`,
    from: 'local run = (state[1] or 0) - 1',
    to: 'local run = (state[1] or 0) - 2',
    tests: limits,
  },
  {
    file: `${ring}/parking.lua`,
    from: "native('HDEL', use.key, 'w:' .. use.queue)",
    to: "native('EXISTS', use.key)",
    tests: limits,
  },
  {
    file: `${ring}/parking.lua`,
    from: "native('ZREM', park, group)\n      native('HDEL', idx, group)",
    to: "native('HDEL', idx, group)",
    tests: limits,
  },
  {
    file: 'queues/fair/lua/set-limits.lua',
    from: "parking().adopt(prefix .. queue .. ':', group)",
    to: 'local _ = queue',
    tests: limits,
  },
  {
    file: 'queues/fair/lua/set-limits.lua',
    from: 'parking().settle(base, group)',
    to: 'local _ = base',
    tests: limits,
  },
  { file: 'queues/fair/lua/complete.lua', from: 'if ofSlot[i] and', to: 'if false and', tests: limits },
  {
    file: 'queues/fair/lua/virtual/active.lua',
    from: 'if job[1] or isLost then',
    to: 'if false then',
    tests: limits,
  },
  // Keys
  {
    file: `${ring}/keys.lua`,
    from: 'if not isBusy(base, group, spec) and not isBehind(base, jobId, name) then',
    to: 'if not isBusy(base, group, spec) then',
    tests: found,
  },
  { file: `${ring}/keys.lua`, from: "if entryOf(base, jobId) == 'h' then", to: 'if false then', tests: keys },
  {
    file: `${ring}/keys.lua`,
    from: "  native('ZREM', base .. 'fair:cancels', jobId)\n  admitNext(base, name)",
    to: '',
    tests: found,
  },
  { file: 'queues/fair/lua/complete.lua', from: 'if ofKey[i] and', to: 'if false and', tests: keys },
  { file: 'queues/fair/scripts.ts', from: "drain: 'remove'", to: "drain: 'finish'", tests: keys },
  { file: 'queues/fair/scripts.ts', from: "removeJob: 'remove'", to: "removeJob: 'finish'", tests: keys },
  {
    file: `${ring}/place.lua`,
    from: "elseif cancels and native('LPOS'",
    to: "elseif native('LPOS'",
    tests: `test/workers/keys ${scheduler}`,
  },
  {
    file: 'queues/fair/lua/fail-cancelled.lua',
    from: 'if not due or not job[2] or not isOver and',
    to: 'if true or',
    tests: 'test/workers/keys',
  },
  {
    file: 'queues/fair/lua/fail-cancelled.lua',
    from: 'or not job[2] or',
    to: 'or',
    tests: found,
  },
  {
    file: 'queues/fair/lua/due-cancels.lua',
    from: "'cxl') == 0",
    to: "'name') == 0",
    tests: found,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if job[CXL] then',
    to: 'if job[CXL] and job[FK] then',
    tests: found,
  },
  { file: 'queues/fair/lua/complete.lua', from: 'job[FK] or job[CXL] or', to: 'job[FK] or', tests: found },
  {
    file: 'queues/fair/lua/virtual/delayed.lua',
    from: "native('HINCRBY', base .. 'fair:d', groupOf(base, jobId), '1') == 1",
    to: "native('HINCRBY', base .. 'fair:d', '', '1') == 1",
    tests: 'test/queues/fair/elsewhere',
  },
  // Jobs that are superseded by the hundred
  {
    file: `${ring}/place.lua`,
    from: 'SUPERSEDED_AT_ONCE = 50',
    to: 'SUPERSEDED_AT_ONCE = 51',
    tests: keyTests,
  },
  { file: `${ring}/place.lua`, from: "    native('ZADD', ks, last, name)\n", to: '', tests: keyTests },
  {
    file: `${ring}/place.lua`,
    from: "native('ZREVRANGEBYSCORE', kw, bound, '-inf'",
    to: "native('ZRANGEBYSCORE', kw, '-inf', bound",
    tests: keyTests,
  },
  {
    file: `${ring}/place.lua`,
    from: "if last and native('ZCOUNT', kw, '-inf', '(' .. last) > 0 then",
    to: 'if last then',
    tests: keyTests,
  },
  { file: `${ring}/place.lua`, from: "    native('ZREM', ks, name)\n", to: '', tests: keyTests },
  {
    file: `${ring}/place.lua`,
    from: "native('HEXISTS', base .. jobId, 'rjk') == 0 and",
    to: '',
    tests: keyTests,
  },
  {
    file: `${ring}/keys.lua`,
    from: "native('ZRANGEBYSCORE', kw, first,",
    to: "native('ZRANGEBYSCORE', kw, '-inf',",
    tests: keyTests,
  },
  {
    file: `${ring}/keys.lua`,
    from: "native('ZCOUNT', kw, firstArrival(base, name), '+inf') > 0",
    to: 'true',
    tests: keyTests,
  },
  { file: `${ring}/keys.lua`, from: 'and (rejoins[base .. jobId] or', to: 'and (false or', tests: keyTests },
  {
    file: `${ring}/keys.lua`,
    from: "native('ZCOUNT', kw, firstArrival(base, name), '(' .. arrival)",
    to: "native('ZRANK', kw, jobId)",
    tests: keyTests,
  },
  {
    file: `${ring}/keys.lua`,
    from: "    native('ZREM', base .. 'fair:ks', name)\n",
    to: '',
    tests: keyTests,
  },
  { file: 'queues/fair/lua/amend.lua', from: ' or isSuperseded(base, jobId)', to: '', tests: keyTests },
  {
    file: 'queues/fair/lua/deduplicate.lua',
    from: ' and not isSuperseded(base, holder)',
    to: '',
    tests: 'test/queues/jobs/dedupe.test',
  },
  {
    file: 'queues/fair/control-backend.ts',
    from: 'if (left === 0 || unstarted.length >= most ||',
    to: 'if (unstarted ||',
    tests: keyTests,
  },
  {
    file: `${ring}/keys.lua`,
    from: "if native('SCARD', base .. 'fair:kh::' .. name) >= limitOf(spec) then",
    to: "if native('SCARD', base .. 'fair:kh::' .. name) > limitOf(spec) then",
    tests: `${keys} ${scheduler}`,
  },
  {
    file: `${ring}/keys.lua`,
    from: "native('ZREM', base .. 'fair:bk', name)",
    to: "native('EXISTS', base .. 'fair:bk')",
    tests: scheduler,
  },
  {
    file: `${ring}/keys.lua`,
    from: "if KEY_RULE == 'remove' and not arriving then",
    to: 'if false then',
    tests: `test/queues/fair/keys.test ${found}`,
  },
  {
    file: `${ring}/keys.lua`,
    from: "\n      and not native('ZSCORE', base .. 'delayed', jobId)",
    to: '',
    tests: scheduler,
  },
  {
    file: 'queues/fair/lua/virtual/call.lua',
    from: 'and total(string.sub(key, 1, -3), false) > 0 then',
    to: 'and false then',
    tests: 'test/queues/fair/keys.test',
  },
  {
    file: 'queues/fair/lua/obliterate-superseded.lua',
    from: "native('ZADD', KEYS[2] .. 'delayed', '0', jobId)",
    to: "native('EXISTS', KEYS[2])",
    tests: found,
  },
  // Groups that were lost, parked, or not settled yet
  {
    file: `${ring}/enter.lua`,
    from: "if native('HSETNX', base .. 'fair:idx', group, member) == 0 then",
    to: "if native('HSETNX', base .. 'fair:idx', group, member) == 2 then",
    tests: `${found} ${scheduler}`,
  },
  {
    file: `${ring}/pick.lua`,
    from: "somebody has to come.\n  native('ZADD', base .. 'marker', '0', '0')",
    to: 'end',
    tests: found,
  },
  {
    file: `${ring}/take.lua`,
    from: 'parking().announcePark(base)',
    to: '',
    tests: found,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if groupsDue then',
    to: 'if false then',
    tests: found,
  },
  {
    file: 'queues/fair/backend.ts',
    from: "if (groupId !== '*') return;",
    to: 'return;',
    tests: `${limits} ${scheduler}`,
  },
  {
    file: 'queues/fair/lua/obliterate-rest.lua',
    from: "if command == 'DEL' and key == KEYS[2] .. 'events' then",
    to: 'if false then',
    tests: found,
  },
  {
    file: 'queues/fair/lua/fail-waiting.lua',
    from: "or redis.call('LREM', base .. 'wait', 0, jobId) == 1",
    to: '',
    tests: found,
  },
  {
    file: 'queues/fair/lua/repair-park.lua',
    from: 'if due > soon and due < HELD then',
    to: 'if false then',
    tests: found,
  },
  {
    file: 'queues/fair/lua/adopt-slots.lua',
    from: '#jobIds < count and 0 or from + count',
    to: '0',
    tests: stalled,
  },
  {
    file: 'queues/fair/lua/repair-slots.lua',
    from: 'if now >= last and now - last',
    to: 'if now - last',
    tests: found,
  },
  // Room
  {
    file: 'queues/fair/lua/reserve-room.lua',
    from: 'taken, latest = taken + jobs,',
    to: 'taken, latest = taken,',
    tests: room,
  },
  {
    file: 'queues/fair/lua/reserve-room.lua',
    from: " + (native('HGET', base .. 'fair:d', ARGV[2]) or 0)",
    to: '',
    tests: room,
  },
  {
    file: 'queues/fair/lua/reserve-room.lua',
    from: 'if tonumber(lapses) > now then',
    to: 'if true then',
    tests: room,
  },
  {
    file: 'queues/tenants/tenant-store.ts',
    from: 'await held.free().catch(() => undefined);',
    to: '',
    tests: room,
  },
  // Charges
  {
    file: `${ring}/pick.lua`,
    from: "tonumber(spec['cost']) or 1",
    to: '1',
    tests: charges,
  },
  {
    file: `${ring}/pick.lua`,
    from: 'moved > 0 and moved or math.floor(charge / 2)',
    to: 'UNIT',
    tests: scheduler,
  },
  {
    file: `${ring}/parking.lua`,
    from: 'if use.charge and startedAt and',
    to: 'if false and',
    tests: charges,
  },
  {
    file: `${ring}/parking.lua`,
    from: 'use.weight, now)) + extra',
    to: 'use.weight, now))',
    tests: charges,
  },
  {
    file: 'queues/fair/lua/virtual/delayed.lua',
    from: "native('HINCRBY', base .. 'fair:d', groupOf(base, jobId), '1')",
    to: '1',
    tests: charges,
  },
  // The lean scripts
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'local none = meta[1] and { 0, 0, 0, 0 }',
    to: 'local none = false',
    tests: 'test/queues/fair/batches.test',
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if delayed and times().isDelayedDue(delayed, timestamp) then',
    to: 'if false then',
    tests: `${twins} ${scheduler} test/queues/fair/conformance`,
  },
  {
    file: 'queues/fair/lua/add.lua',
    from: "elseif native('ZCARD', q) == 1 then",
    to: 'elseif false then',
    tests: twins,
  },
  {
    file: 'queues/fair/lua/add.lua',
    from: "'timestamp', ARGV[at + 2], 'fk', holds)",
    to: "'timestamp', ARGV[at + 2])",
    tests: `${twins} ${keys}`,
  },
  {
    file: 'queues/fair/lua/add-place.lua',
    from: 'if wakes and not meta[1]',
    to: 'if false and not meta[1]',
    tests: `${scheduler} test/queues/fair/conformance`,
  },
  {
    file: 'queues/fair/lua/complete.lua',
    from: 'if holder ~= token then',
    to: 'if not holder then',
    tests: `${twins} test/queues/fair/conformance`,
  },
  {
    file: 'queues/fair/lua/claim.lua',
    from: 'atStarts and fields[atStarts + 1] + 1 or 1',
    to: '1',
    tests: found,
  },
  // Limits of queues and tasks
  {
    file: `${ring}/gates.lua`,
    from: 'if gate.m and run >= gate.m then',
    to: 'if gate.m and run > gate.m then',
    tests: gateWalk,
  },
  { file: `${ring}/gates.lua`, from: '    spend(gate)\n', to: '', tests: gateWalk },
  {
    file: `${ring}/gates.lua`,
    from: '  wakeTask(prefix, task)\n  return true',
    to: '  return true',
    tests: gates,
  },
  { file: `${ring}/aside.lua`, from: 'if first ~= head then', to: 'if false then', tests: gates },
  {
    file: `${ring}/aside.lua`,
    from: 'if not ringTag or tag <= ringTag then',
    to: 'if true then',
    tests: gates,
  },
  { file: `${ring}/aside.lua`, from: 'pay(use, best.tag, costOf(options))', to: '', tests: gates },
  {
    file: `${ring}/aside.lua`,
    from: 'math.floor(costOf(options) * UNIT / use.weight), group)',
    to: 'UNIT, group)',
    tests: gates,
  },
  {
    file: `${ring}/parking.lua`,
    from: 'for _, queue in ipairs(asides) do',
    to: 'for _, queue in ipairs({}) do',
    tests: gates,
  },
  {
    file: 'queues/overall/balance.ts',
    from: 'return Math.max(part?.m ?? 0, part?.run ?? 0);',
    to: 'return part?.m ?? 0;',
    tests: balancing,
  },
  {
    file: 'queues/overall/balance.ts',
    from: 'return isOverrun ? Math.min(kept(i), part?.run ?? 0) : kept(i);',
    to: 'return kept(i);',
    tests: balancing,
  },
  {
    file: 'queues/overall/turns.ts',
    from: `!== 'OK')`,
    to: '=== undefined)',
    tests: balancing,
  },
  {
    file: 'queues/fair/lua/change-gates.lua',
    from: 'surplus[field] = math.max(0, had - gate.a)',
    to: 'surplus[field] = 0',
    tests: gates,
  },
  // Workers
  {
    file: 'workers/runtime/arbiter.ts',
    from: 'lane.pass += units / lane.weight',
    to: 'lane.pass += units',
    tests: arbiter,
  },
  {
    file: 'workers/runtime/arbiter.ts',
    from: 'lane.pass = Math.max(lane.pass, this.#virtualTime)',
    to: 'lane.pass = lane.pass + 0',
    tests: arbiter,
  },
  {
    file: 'workers/runtime/arbiter.ts',
    from: 'lane.pass + lane.underWay / lane.weight',
    to: 'lane.pass',
    tests: arbiter,
  },
  {
    file: 'workers/runtime/outcome.ts',
    from: "return { kind: 'fail', failure: { code: CANCELLED, message: abortMessage(signal), retryable: false } };",
    to: 'break;',
    tests: 'test/workers/keys',
  },
  {
    file: 'workers/runtime/source.ts',
    from: 'skipAttempt: true',
    to: 'skipAttempt: false',
    tests: 'test/workers/pause-key',
  },
];
