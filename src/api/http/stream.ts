import type { IncomingMessage, ServerResponse } from 'node:http';
import { WaggleError } from '../../shared/errors.ts';
import { BODY_MS, RequestAbortedError } from './body.ts';

/** How long the rest of a request is read away after the end of its answer: closing at once would take the answer along. */
const LINGER_MS = 2000;

/**
 * The chunks of a request's body, as fast as they are asked for.
 * @throws the reason of `stop` when it aborts; WaggleError validation when nothing comes for 30 s. The request is left as it
 *   is then, so that it can still be answered
 * @throws RequestAbortedError when the caller has gone
 */
export async function* arriving(req: IncomingMessage, stop: AbortSignal): AsyncGenerator<Buffer> {
  while (!req.readableEnded) {
    stop.throwIfAborted();
    const chunk = req.read() as Buffer | null;
    if (chunk === null) await somethingToRead(req, stop);
    else yield chunk;
  }
}

function somethingToRead(req: IncomingMessage, stop: AbortSignal): Promise<void> {
  if (req.readableEnded) return Promise.resolve();
  if (req.destroyed) return Promise.reject(new RequestAbortedError());
  return new Promise((resolve, reject) => {
    const end = (error?: Error): void => {
      clearTimeout(timer);
      for (const event of ['readable', 'end']) req.off(event, onReadable);
      for (const event of ['error', 'close']) req.off(event, onClose);
      stop.removeEventListener('abort', onReadable);
      if (error) reject(error);
      else resolve();
    };
    const onReadable = (): void => end();
    const onClose = (): void => end(new RequestAbortedError());
    const timer = setTimeout(() => {
      end(new WaggleError('validation', 'The request did not arrive in time.'));
    }, BODY_MS);
    for (const event of ['readable', 'end']) req.on(event, onReadable);
    for (const event of ['error', 'close']) req.on(event, onClose);
    stop.addEventListener('abort', onReadable);
  });
}

/** Writes, and waits while the caller takes nothing. Resolves also when the caller has gone. */
export function write(res: ServerResponse, text: string): Promise<void> {
  if (res.destroyed || res.write(text)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      res.off('drain', done);
      res.off('close', done);
      resolve();
    };
    res.on('drain', done);
    res.on('close', done);
  });
}

/** Ends an answer whose request may go on: what comes is read away for a moment, then the connection is closed. */
export function endEarly(req: IncomingMessage, res: ServerResponse, text: string): void {
  res.end(text);
  if (req.complete) return;
  // A reader that was just taken off still counts until the next turn.
  setImmediate(() => req.resume());
  const timer = setTimeout(() => req.destroy(), LINGER_MS);
  for (const event of ['end', 'close']) req.once(event, () => clearTimeout(timer));
}
