import type { JobJson } from 'bullmq';
import type { JobState } from '../../src/shared/schemas.ts';
import { isFinished } from '../jobs/view.ts';
import type { StoredJob } from '../jobs/view.ts';
import type { Told } from './position.ts';

/** A state that is to be told of. */
export interface DueState {
  state: JobState;
  /** When the job went to it, or, where its record does not say that, when it was seen in it (ms epoch). */
  at: number;
}

export function presentState({ state, json }: StoredJob, now: number): DueState {
  return { state, at: (state === 'active' ? json.processedOn : undefined) ?? now };
}

/**
 * The states a job went to since `told`, as far as its record says: it knows when the job started last, and where it is. What
 * came and went otherwise left nothing behind. An end is not among them; it is told with what came of it.
 */
export function missedStates(
  told: Told,
  { attemptsStarted, processedOn }: Pick<JobJson, 'attemptsStarted' | 'processedOn'>,
  present: DueState,
): DueState[] {
  const isNewStart = told.starts !== null && attemptsStarted > told.starts && processedOn !== undefined;
  const started: DueState[] = isNewStart ? [{ state: 'active', at: processedOn }] : [];
  const last = isNewStart ? 'active' : told.what;
  return isFinished(present.state) || present.state === last ? started : [...started, present];
}
