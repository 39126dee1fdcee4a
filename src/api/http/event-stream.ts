import type { ServerResponse } from 'node:http';
import type { JobStreamEvent } from '../../shared/stream-schemas.ts';
import { WaggleError } from '../../shared/errors.ts';
import { isRedisUnavailable } from '../../../queues/topology/redis-errors.ts';

/** Proxies and clients give up on connections that say nothing for long. */
const HEARTBEAT_MS = 15_000;
/** After this pause a browser connects again by itself. */
const RECONNECT_MS = 1000;
/** More than this is not kept for a reader who takes nothing. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
/** How long such a reader may take to catch up. All it has not got is still in Redis, so it may come back. */
const CATCH_UP_MS = 5000;

export interface EventFormat {
  type: string;
  start: string;
  heartbeat: string;
  event(event: JobStreamEvent): string;
}

/** Server-sent events (WHATWG HTML, section 9.2). JSON has no line breaks of its own. */
export const SSE: EventFormat = {
  type: 'text/event-stream',
  start: `retry: ${RECONNECT_MS}\n\n`,
  heartbeat: ':\n\n',
  event: ({ id, event, data: told }) => `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(told)}\n\n`,
};

/** One JSON object a line; an empty line says that the server is still there. */
export const NDJSON_EVENTS: EventFormat = {
  type: 'application/x-ndjson',
  start: '',
  heartbeat: '\n',
  event: (event) => `${JSON.stringify(event)}\n`,
};

/**
 * Sends events as they come until they end, the caller has gone, or it takes too little. An outage ends the answer like
 * a drain does: whoever has had no `result` or `error` asks again.
 */
export async function sendEvents(
  res: ServerResponse,
  events: AsyncIterable<JobStreamEvent>,
  format: EventFormat,
  heartbeatMs = HEARTBEAT_MS,
): Promise<void> {
  begin(res, format);
  const heartbeat = setInterval(() => {
    if (!res.writableNeedDrain) res.write(format.heartbeat);
  }, heartbeatMs);
  try {
    for await (const event of events) if (!(await taken(res, format.event(event)))) return;
  } catch (error) {
    if (!(error instanceof WaggleError) && !isRedisUnavailable(error)) throw error;
  } finally {
    clearInterval(heartbeat);
    res.end();
  }
}

function begin(res: ServerResponse, format: EventFormat): void {
  res.setHeader('Content-Type', `${format.type}; charset=utf-8`);
  // nginx holds answers back unless it is told not to.
  res.setHeader('X-Accel-Buffering', 'no');
  res.flushHeaders();
  if (format.start !== '') res.write(format.start);
}

/** Whether the caller is still worth writing to. One that is not is cut off. */
async function taken(res: ServerResponse, text: string): Promise<boolean> {
  if (res.destroyed) return false;
  res.write(text);
  if (res.writableLength <= MAX_BUFFERED_BYTES) return true;
  if (await drains(res)) return true;
  res.destroy();
  return false;
}

function drains(res: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (drained: boolean): void => {
      clearTimeout(timer);
      res.off('drain', onDrain);
      res.off('close', onClose);
      resolve(drained);
    };
    const onDrain = (): void => settle(true);
    const onClose = (): void => settle(false);
    const timer = setTimeout(onClose, CATCH_UP_MS);
    res.on('drain', onDrain);
    res.on('close', onClose);
  });
}
