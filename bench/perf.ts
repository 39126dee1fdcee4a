import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Share {
  name: string;
  percent: number;
}

const run = promisify(execFile);
const SAMPLES_PER_SECOND = 1_999;

/** What a function of the server is there for, by its name and library; the first that fits counts. */
const KINDS: readonly (readonly [string, RegExp])[] = [
  ['kernel: sockets and waiting', /kernel|vdso/],
  ['Lua: interpreter, tables, collector', /^(lua|between lua)/],
  ['Lua: cmsgpack, cjson', /^(mp_|strbuf|json|fpconv)/],
  ['Lua: boundary to commands', /lua|script|deniedOnWarn/i],
  ['numbers to text and back', /printf|hack_digit|mpn|strto|Double|string2l|ll2string|fpconv/i],
  ['allocator', /jemalloc|malloc|zfree|realloc|calloc/],
  ['key space and hashes', /dict|lookupKey|siphash|dbAdd|dbDelete|hashType|getExpire|expireIfNeeded/i],
  ['sorted sets', /zs[le]|zset|zadd|zrange|zpop/i],
  ['lists, streams, listpacks', /quicklist|listType|stream|rax|lp[A-Z]/],
  ['strings', /sds|mem(cpy|move|cmp|set)|str(len|casecmp|cmp)/],
  ['statistics', /hdr_|latency|slowlog|monotonic/i],
  ['calls, replies, parsing', /call|Reply|command|process|ACL|client|multibulk/i],
];

/**
 * Samples a server by perf. The function returned ends that and tells where the server's processor time went: self time
 * of its functions, the highest first.
 * @throws Error when there is no perf, or it may not be used
 */
export async function sampleServer(pid: number): Promise<() => Promise<Share[]>> {
  const folder = await mkdtemp(join(tmpdir(), 'waggle-profile-'));
  const file = join(folder, 'perf');
  // A virtual machine often has no cycle counter; this clock is there always.
  const flags = ['-e', 'cpu-clock', '-F', String(SAMPLES_PER_SECOND), '-p', String(pid), '-o', file];
  const perf = spawn('perf', ['record', '-q', ...flags], { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(perf, 'spawn');
  return async () => {
    perf.kill('SIGINT');
    await once(perf, 'exit');
    const report = ['report', '--no-children', '--stdio', '-g', 'none', '-s', 'dso,symbol', '-i', file];
    const { stdout } = await run('perf', report, { maxBuffer: 2 ** 26 });
    await rm(folder, { recursive: true });
    return named(stdout, await exportedSymbols(pid));
  };
}

type Symbols = { address: number; name: string }[];

async function exportedSymbols(pid: number): Promise<Symbols> {
  const { stdout } = await run('nm', ['-D', '-n', '--defined-only', await readlink(`/proc/${pid}/exe`)], {
    maxBuffer: 2 ** 26,
  });
  return [...stdout.matchAll(/^(\w+) \w (\S+)/gm)].map(([, address, name]) => ({
    address: parseInt(String(address), 16),
    name: String(name),
  }));
}

/** A packaged server exports most of its functions and no others: those are called by their neighbours. */
function named(report: string, symbols: Symbols): Share[] {
  const percents = new Map<string, number>();
  for (const [, percent, dso, symbol] of report.matchAll(/^\s+([\d.]+)%\s+(\S+)\s+\[.\] (\S+)/gm)) {
    const unknown = /^0x/.test(String(symbol)) && /redis|valkey/.test(String(dso));
    const name = unknown ? betweenWhich(parseInt(String(symbol), 16), symbols) : `${symbol} (${dso})`;
    percents.set(name, (percents.get(name) ?? 0) + Number(percent));
  }
  return sorted(percents);
}

function betweenWhich(address: number, symbols: Symbols): string {
  const after = symbols.findIndex((symbol) => symbol.address > address);
  return `between ${symbols[after - 1]?.name ?? ''} and ${symbols[after]?.name ?? ''}`;
}

export function byKind(shares: Share[]): Share[] {
  const percents = new Map<string, number>();
  for (const { name, percent } of shares) {
    const [kind] = KINDS.find(([, names]) => names.test(name)) ?? ['others'];
    percents.set(kind, (percents.get(kind) ?? 0) + percent);
  }
  return sorted(percents);
}

const sorted = (percents: Map<string, number>): Share[] =>
  [...percents]
    .map(([name, percent]) => ({ name, percent }))
    .sort((one, other) => other.percent - one.percent);
