import { request } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';

/** An event as either format carries it. */
export interface SeenEvent {
  id: string;
  event: string;
  data: any;
}

export interface EventStream {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly response: IncomingMessage;
  /** All that came so far, as it came. */
  text(): string;
  /** Every event that came so far. */
  events(): SeenEvent[];
  /** The first `count` events. Rejects when the stream ends with fewer. */
  first(count: number): Promise<SeenEvent[]>;
  /** Every event, when the stream has ended; also when it was cut off. */
  all(): Promise<SeenEvent[]>;
  close(): void;
}

/** Opens a stream of events and reads it, unless `paused`. */
export function openEvents(
  port: number,
  path: string,
  {
    token,
    headers = {},
    paused = false,
  }: { token: string; headers?: Record<string, string>; paused?: boolean },
): Promise<EventStream> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        path,
        agent: false,
        headers: { Authorization: `Bearer ${token}`, ...headers },
      },
      (response) => resolve(reading(response, paused)),
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

function reading(response: IncomingMessage, paused: boolean): EventStream {
  let text = '';
  const listeners = new Set<() => void>();
  const tell = (): void => listeners.forEach((listener) => listener());
  response.setEncoding('utf8');
  let ended = false;
  const begin = (): void => {
    response.on('data', (chunk: string) => {
      text += chunk;
      tell();
    });
  };
  if (!paused) begin();
  for (const event of ['end', 'error', 'close']) {
    response.on(event, () => {
      ended = true;
      tell();
    });
  }
  const events = (): SeenEvent[] => parseEvents(text, response.headers['content-type'] ?? '');
  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!ended && !done()) return;
        listeners.delete(look);
        resolve();
      };
      listeners.add(look);
      look();
    });
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    response,
    text: () => text,
    events,
    async first(count) {
      await until(() => events().length >= count);
      const seen = events().slice(0, count);
      if (seen.length < count) throw new Error(`the stream ended after ${JSON.stringify(seen)}`);
      return seen;
    },
    async all() {
      if (paused) begin();
      await until(() => false);
      return events();
    },
    close: () => response.destroy(),
  };
}

/** Events that have arrived whole. */
function parseEvents(text: string, type: string): SeenEvent[] {
  if (type.startsWith('application/x-ndjson')) {
    const lines = text.split('\n').slice(0, -1);
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as SeenEvent);
  }
  return text
    .split('\n\n')
    .slice(0, -1)
    .flatMap((block) => {
      const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s)));
      if (fields['event'] === undefined) return [];
      return [{ id: fields['id'], event: fields['event'], data: JSON.parse(fields['data'] ?? 'null') }];
    });
}

/** Events by what they say, without ids and times. */
export function said(events: readonly SeenEvent[]): unknown[] {
  return events.map(({ event, data: { at: _at, ...data } }) => [event, ...Object.values(data as object)]);
}
