import { WaggleError } from '../../src/shared/errors.ts';
import { JobState } from '../../src/shared/schemas.ts';
import { isFinished } from '../jobs/view.ts';

/** What a reader was told last of a job's states. */
export interface Told {
  /** `end` when it was told what came of the job as well. */
  what: JobState | 'end';
  /** How often the job had started by then; null where an id of an earlier version does not say it. */
  starts: number | null;
  /** `finishedOn` of the job (ms epoch) when it was told that it has ended. */
  endedAt: number | null;
}

/** How far a reader has come with a job's stream. */
export interface Position {
  /** Id of the last entry it has, as Redis writes it. */
  entry: string;
  /** How many events that are no entries it was told of since that entry. */
  since: number;
  /** Null while it was told of no state, and where an id of an earlier version does not say of which. */
  told: Told | null;
}

export const START: Position = { entry: '0-0', since: 0, told: null };

const ENTRY = String.raw`(?<entry>\d{1,15}-\d{1,15})`;
const TEXT = new RegExp(
  String.raw`^${ENTRY}~(?<since>\d{1,9})\.(?<what>[a-z-]{1,20})\.(?<starts>\d{1,9})(?:\.(?<endedAt>\d{1,15}))?$`,
);
/** Also what ids were before they said of a state. */
const STATELESS = new RegExp(String.raw`^${ENTRY}(?:\.(?<endedAt>\d{1,15}))?$`);

/**
 * The id of an event, by which a reader can go on after it: `<entry>~<since>.<what>.<starts>[.<endedAt>]`, or the entry
 * alone before it was told of any state. Within a stream it grows by entry and `since`, so no two events have the same.
 */
export function formatPosition({ entry, since, told }: Position): string {
  if (told === null) return entry;
  const end = told.endedAt === null ? '' : `.${told.endedAt}`;
  return told.starts === null ? `${entry}${end}` : `${entry}~${since}.${told.what}.${told.starts}${end}`;
}

/** @throws WaggleError validation */
export function parsePosition(text: string): Position {
  const position = parsed(text) ?? parsedStateless(text);
  if (position !== null) return position;
  throw new WaggleError('validation', 'The id of the last event is none of a stream.', {
    errors: [{ path: 'lastEventId', message: 'is not the id of an event' }],
  });
}

function parsed(text: string): Position | null {
  const { entry = '', since, what = '', starts, endedAt } = TEXT.exec(text)?.groups ?? {};
  if (!isToldOf(what)) return null;
  const isEnd = what === 'end' || isFinished(what);
  if (isEnd !== (endedAt !== undefined)) return null;
  const told = { what, starts: Number(starts), endedAt: endedAt === undefined ? null : Number(endedAt) };
  return { entry, since: Number(since), told };
}

function parsedStateless(text: string): Position | null {
  const { entry, endedAt } = STATELESS.exec(text)?.groups ?? {};
  if (entry === undefined) return null;
  const told: Told | null =
    endedAt === undefined ? null : { what: 'end', starts: null, endedAt: Number(endedAt) };
  return { entry, since: 0, told };
}

function isToldOf(what: string): what is Told['what'] {
  return what === 'end' || JobState.safeParse(what).success;
}
