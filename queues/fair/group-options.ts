/**
 * What a new job does when its key is taken: wait in order of arrival; be refused; take the place of those that wait; or
 * that and have those stopped that run.
 */
export const KEY_STRATEGIES = ['queue', 'reject', 'replace-waiting', 'cancel-running'] as const;
export type KeyStrategy = (typeof KEY_STRATEGIES)[number];

/** The option by which a job joins a group; a job without it belongs to the group of all ungrouped jobs. */
export interface GroupOptions {
  id: string;
  /** Jobs of a group with the same key run one after the other in order of arrival, `keyLimit` (1) at a time. */
  key?: string;
  keyLimit?: number;
  /** `queue` unless given; `reject` throws {@link KeyBusyError}. The last two need `getDueCancels`. */
  keyStrategy?: KeyStrategy;
  /** How many jobs of its group this one counts for, from 0.01 to 1000; 1 unless given. */
  cost?: number;
}

/** A job with the strategy `reject` was not added, because its key is taken. */
export class KeyBusyError extends Error {
  constructor() {
    super('Another job of this key runs or waits');
    this.name = 'KeyBusyError';
  }
}

/**
 * The option `group` of a job, checked: later a wrong one would only be a job that is lost.
 * @throws TypeError when it is there and not what {@link GroupOptions} says
 */
export function groupOf(options: object | undefined): GroupOptions | undefined {
  const group = (options as { group?: Record<string, unknown> | null } | undefined)?.group;
  if (group === undefined) return undefined;
  const { id, key, keyLimit = 1, keyStrategy = 'queue', cost = 1 } = group ?? {};
  if (typeof id !== 'string' || id.startsWith('\0'))
    throw new TypeError('The job option group must be { id: string }, and the id must not begin with a NUL');
  if (key === undefined && (group?.['keyLimit'] ?? group?.['keyStrategy']) !== undefined)
    throw new TypeError('group.keyLimit and group.keyStrategy need a group.key');
  if (key !== undefined && typeof key !== 'string') throw new TypeError('group.key must be a string');
  if (!Number.isSafeInteger(keyLimit) || Number(keyLimit) < 1)
    throw new TypeError('group.keyLimit must be a whole number from 1');
  if (!KEY_STRATEGIES.includes(keyStrategy as KeyStrategy))
    throw new TypeError(`group.keyStrategy must be one of ${KEY_STRATEGIES.join(', ')}`);
  if (typeof cost !== 'number' || !(cost >= 0.01 && cost <= 1000))
    throw new TypeError('group.cost must be a number from 0.01 to 1000');
  return group as unknown as GroupOptions;
}

/** The same for a job of a flow, which could be refused only after others of it are in. */
export function assertFitForFlow(options: object | undefined): void {
  if (groupOf(options)?.keyStrategy === 'reject')
    throw new TypeError('group.keyStrategy cannot be reject in a flow');
}
