import { request } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';

export interface OutcomeLine {
  index: number;
  id?: string;
  problem?: { code: string; detail: string };
}

/** A batch that is sent and answered line by line. */
export interface LineStream {
  readonly outgoing: ClientRequest;
  /** Outcomes so far. */
  readonly outcomes: OutcomeLine[];
  /** Resolves with the answer's head. */
  readonly response: Promise<IncomingMessage>;
  /** Resolves when so many outcomes are there. */
  received(count: number): Promise<void>;
  /** Sends bytes; resolves when the connection takes more. */
  send(bytes: Buffer | string): Promise<void>;
  /** Resolves with all outcomes when the answer has ended. Rejects when the connection broke first. */
  readonly ended: Promise<OutcomeLine[]>;
}

export function openLines(port: number, token: string, headers: Record<string, string> = {}): LineStream {
  const outgoing = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: '/v1/jobs/batch',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/x-ndjson', ...headers },
  });
  const outcomes: OutcomeLine[] = [];
  const waiting = new Set<() => void>();
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
  });
  const ended = response.then(
    (incoming) =>
      new Promise<OutcomeLine[]>((resolve, reject) => {
        const lines = createInterface({ input: incoming });
        lines.on('error', reject);
        lines.on('line', (line) => {
          outcomes.push(JSON.parse(line) as OutcomeLine);
          for (const look of waiting) look();
        });
        incoming.once('error', reject);
        outgoing.on('error', reject);
        incoming.once('end', () => setImmediate(() => resolve(outcomes)));
      }),
  );
  // Who does not wait for the end does not care how it comes.
  ended.catch(() => undefined);
  outgoing.flushHeaders();
  return {
    outgoing,
    outcomes,
    response,
    ended,
    received: (count) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (outcomes.length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
        ended.then(() => reject(new Error(`the answer ended after ${outcomes.length} outcomes`)), reject);
      }),
    send: (bytes) =>
      new Promise((resolve) => {
        if (outgoing.write(bytes)) resolve();
        else outgoing.once('drain', resolve);
      }),
  };
}

/** Sends a whole batch and resolves with its outcomes. */
export async function sendLines(
  port: number,
  token: string,
  pieces: Iterable<Buffer | string>,
): Promise<OutcomeLine[]> {
  const stream = openLines(port, token);
  for (const piece of pieces) await stream.send(piece);
  stream.outgoing.end();
  return stream.ended;
}
