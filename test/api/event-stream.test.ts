import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import { NDJSON_EVENTS, sendEvents, SSE } from '../../src/api/http/event-stream.ts';
import type { EventFormat } from '../../src/api/http/event-stream.ts';
import type { JobStreamEvent } from '../../src/shared/stream-schemas.ts';
import { latch } from '../queues/support/latch.ts';
import { openEvents } from './support/events.ts';

const END: JobStreamEvent = { id: '1-0.2', event: 'result', data: { result: '\n\n', at: 'then' } };

/** What a client gets from a job that says nothing until two heartbeats have come. */
async function silence(format: EventFormat, isBeat: (text: string) => boolean): Promise<string> {
  const goOn = latch();
  async function* events(): AsyncGenerator<JobStreamEvent> {
    await goOn.opened;
    yield END;
  }
  const server = createServer((_req, res) => void sendEvents(res, events(), format, 10)).listen(0);
  try {
    const stream = await openEvents((server.address() as AddressInfo).port, '/', { token: '' });
    stream.response.on('data', () => isBeat(stream.text()) && goOn.open());
    await stream.all();
    return stream.text();
  } finally {
    server.close();
  }
}

test('server-sent events: comments in silence, then the event with its id, on lines of its own', async () => {
  const text = await silence(SSE, (got) => got.endsWith(':\n\n:\n\n'));
  expect(text).toMatch(
    /^retry: 1000\n\n(:\n\n){2,}id: 1-0\.2\nevent: result\ndata: \{"result":"\\n\\n","at":"then"\}\n\n$/,
  );
});

test('lines: empty ones in silence, then the event', async () => {
  const text = await silence(NDJSON_EVENTS, (got) => got.endsWith('\n\n'));
  expect(text.trimStart()).toBe(`${JSON.stringify(END)}\n`);
});
