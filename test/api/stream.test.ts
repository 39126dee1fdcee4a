import { createServer, get, request } from 'node:http';
import type { IncomingMessage, RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { arriving, endEarly, write } from '../../src/api/http/stream.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import { eventually } from '../support/eventually.ts';

let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function serve(answer: (...args: Parameters<RequestListener>) => Promise<void>): Promise<number> {
  server = createServer((req, res) => void answer(req, res)).listen(0);
  await new Promise((resolve) => server.once('listening', resolve));
  return (server.address() as AddressInfo).port;
}

const PIECE = 'x'.repeat(64 * 1024);
/** 128 MB: more than any system holds for a connection. */
const PIECES = 2000;

/** Serves the pieces, and a caller that reads none of them until it is told to. */
async function servePieces(): Promise<{ written: () => number; response: IncomingMessage }> {
  let [written, held] = [0, false];
  const port = await serve(async (_, res) => {
    for (; written < PIECES; written += 1) {
      const taken = write(res, PIECE);
      held = res.writableNeedDrain;
      await taken;
    }
    res.end();
  });
  const response = await new Promise<IncomingMessage>((resolve) => get({ port }, resolve));
  response.on('error', () => undefined);
  await eventually('the server holds a piece, or all are out', () => held || written === PIECES);
  return { written: () => written, response };
}

test('what nobody takes is not written', async () => {
  const { written, response } = await servePieces();
  // Turns in which a writer that does not wait would write the rest.
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(written()).toBeLessThan(PIECES / 2);
  let length = 0;
  for await (const chunk of response) length += (chunk as Buffer).length;
  expect([written(), length]).toEqual([PIECES, PIECES * PIECE.length]);
});

test('whoever writes to a caller that has gone is not held', async () => {
  const { written, response } = await servePieces();
  response.destroy();
  await eventually('the writer goes on', () => written() === PIECES);
});

test('the chunks of a body end with it, with the caller or when they are stopped', async () => {
  const ends: string[] = [];
  const stop = new AbortController();
  const port = await serve(async (req, res) => {
    try {
      let length = 0;
      for await (const chunk of arriving(req, stop.signal)) {
        length += chunk.length;
        res.writeProcessing();
      }
      ends.push(`${length}`);
      res.end();
    } catch (error) {
      ends.push((error as { code?: string }).code ?? (error as Error).name);
      endEarly(req, res, 'last words');
    }
  });
  const send = () => request({ port, method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } });

  const whole = send();
  const answered = new Promise((resolve) => whole.once('response', resolve));
  whole.write('a');
  await new Promise((resolve) => whole.once('information', resolve));
  whole.end('bc');
  await answered;
  expect(ends).toEqual(['3']);

  const broken = send();
  broken.on('error', () => undefined);
  broken.write('a');
  await new Promise((resolve) => broken.once('information', resolve));
  broken.destroy();
  await eventually('the server notices', () => ends.length === 2);
  expect(ends[1]).toBe('RequestAbortedError');

  const stopped = send();
  const answer = new Promise<IncomingMessage>((resolve) => stopped.once('response', resolve));
  stopped.write('a');
  await new Promise((resolve) => stopped.once('information', resolve));
  stop.abort(new WaggleError('shutting_down', 'Stop.'));
  let text = '';
  for await (const chunk of await answer) text += String(chunk);
  expect([ends[2], text]).toEqual(['shutting_down', 'last words']);
  // What it still sends is read away, and the request can end well.
  stopped.end('x'.repeat(1024 * 1024));
  await new Promise((resolve) => stopped.once('finish', resolve));
});
