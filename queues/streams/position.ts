import { WaggleError } from '../../src/shared/errors.ts';

/** How far a reader has come with a job's stream. */
export interface Position {
  /** Id of the last entry it has, as Redis writes it. */
  entry: string;
  /** `finishedOn` of the end it was told of (ms epoch); null while it was told of none. */
  endedAt: number | null;
}

export const START: Position = { entry: '0-0', endedAt: null };

const TEXT = /^(\d{1,15}-\d{1,15})(?:\.(\d{1,15}))?$/;

/** The id of an event, by which a reader can go on after it. */
export function formatPosition({ entry, endedAt }: Position): string {
  return endedAt === null ? entry : `${entry}.${endedAt}`;
}

/** @throws WaggleError validation */
export function parsePosition(text: string): Position {
  const [, entry, endedAt] = TEXT.exec(text) ?? [];
  if (entry !== undefined) return { entry, endedAt: endedAt === undefined ? null : Number(endedAt) };
  throw new WaggleError('validation', 'The id of the last event is none of a stream.', {
    errors: [{ path: 'lastEventId', message: 'is not the id of an event' }],
  });
}
