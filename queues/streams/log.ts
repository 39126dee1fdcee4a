import type { LogLine, LogPage, LogQuery } from '../../src/shared/stream-schemas.ts';
import { invalid } from '../../src/shared/validate.ts';
import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';

/** Whose log it is. */
interface LogOwner {
  shard: number;
  queue: string;
  id: string;
}

/** A line that was seen: what it is known by, and where it was. */
interface Seen {
  time: string;
  index: number;
}

const TIMED = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z) /;
const CURSOR = /^(\d{1,9}) (\S{20,40})$/;

/**
 * Gives each line of an attempt a time that no other has, to the microsecond, so that a line is known by it. BullMQ keeps
 * lines as bare text, and its board shows them as they are.
 */
export function lineTimer(): () => string {
  let last = 0;
  return () => {
    const now = Math.floor((performance.timeOrigin + performance.now()) * 1000);
    last = Math.max(now, last + 1);
    const ms = new Date(Math.floor(last / 1000)).toISOString();
    return ms.replace('Z', `${String(last % 1000).padStart(3, '0')}Z`);
  };
}

/** A line as BullMQ stores it. */
export function timedLine(time: string, line: string): string {
  return `${time} ${line}`;
}

/** Reads the log lines of jobs. */
export class JobLogs {
  readonly #topology: Topology;
  readonly #page: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    this.#page = defineScript(topology.redis, 'waggleLogPage', new URL('./log-page.lua', import.meta.url), 1);
  }

  /** @throws WaggleError validation for a cursor that is none */
  async page({ shard, queue, id }: LogOwner, { limit, cursor }: LogQuery): Promise<LogPage> {
    const seen = cursor === undefined ? { time: '', index: 0 } : decodeCursor(cursor);
    const key = `${this.#topology.prefix(shard)}:${queue}:${id}:logs`;
    // One more than asked for tells whether there is a next page.
    const [from, ...texts] = (await this.#page(key, seen.time, seen.index, limit + 1)) as string[];
    const lines = texts.slice(0, limit).map(logLine);
    const last = lines.at(-1);
    const more = texts.length > limit && last !== undefined && last.at !== null;
    return {
      lines,
      nextCursor: more ? encodeCursor({ time: last.at ?? '', index: Number(from) + limit - 1 }) : null,
    };
  }
}

/** A line that Waggle did not write has no time. */
function logLine(text: string): LogLine {
  const time = TIMED.exec(text)?.[1];
  return time === undefined ? { at: null, line: text } : { at: time, line: text.slice(time.length + 1) };
}

function encodeCursor({ time, index }: Seen): string {
  return Buffer.from(`${index} ${time}`).toString('base64url');
}

function decodeCursor(cursor: string): Seen {
  const [, index, time] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (index !== undefined && time !== undefined) return { index: Number(index), time };
  throw invalid('validation', [{ path: 'cursor', message: 'is not a cursor of this log' }]);
}
