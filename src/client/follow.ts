import type { JobStreamEvent } from '../shared/stream-schemas.ts';
import { linesOf, NDJSON } from './lines.ts';
import { pause, retryPauseMs } from './retry.ts';
import type { CallOptions, Transport } from './transport.ts';
import { pathOf } from './transport.ts';
import { WaggleError } from './waggle-error.ts';

export interface FollowOptions extends CallOptions {
  /** Goes on after this event. */
  lastEventId?: string | undefined;
}

/** The API says every 15 s that it is there. */
const SILENCE_MS = 45_000;

/**
 * What happens to a job, to its end. A connection that breaks, and a server that shuts down, are gone on from on another
 * one, after the last event that came.
 */
export async function* follow(
  transport: Transport,
  id: string,
  { lastEventId, signal }: FollowOptions,
): AsyncGenerator<JobStreamEvent, void, undefined> {
  let after = lastEventId;
  for (let fruitless = 0; ; fruitless++) {
    const response = await transport.open({
      method: 'GET',
      path: pathOf`/v1/jobs/${id}/stream`,
      headers: { Accept: NDJSON, 'Last-Event-ID': after },
      signal,
    });
    if (response.status === 204) return;
    try {
      for await (const line of linesOf(response, SILENCE_MS)) {
        const event = JSON.parse(line) as JobStreamEvent;
        after = event.id;
        fruitless = 0;
        yield event;
        if (event.event === 'result' || event.event === 'error') return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof WaggleError) || fruitless >= transport.maxRetries) throw error;
    }
    signal?.throwIfAborted();
    if (fruitless >= transport.maxRetries)
      throw new WaggleError('unreachable', `The stream of ${id} ends before its job does`);
    await pause(retryPauseMs(fruitless, null), signal);
  }
}
