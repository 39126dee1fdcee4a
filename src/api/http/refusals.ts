import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { problemDocument, WaggleError } from '../../shared/errors.ts';
import { newUlid } from '../../shared/ids.ts';

/** How long what a refused caller still sends is read away: closing at once would reset the connection and take the answer along. */
const LINGER_MS = 1000;

/**
 * Answers what Node's HTTP server would end without a word, or with one that is no problem document: bytes the parser
 * refuses, callers who take too long, and tunnels. An answer is written only where it can be told from those before it.
 */
export function refuseInWords(server: Server, maxHeaderBytes: number): void {
  const running = responsesOf(server);
  const refused = new WeakSet<Duplex>();
  server.on('clientError', (error: Error & { code?: string }, socket: Duplex) => {
    // The parser complains again about whatever follows.
    if (socket.writableEnded || refused.has(socket)) return;
    refused.add(socket);
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else inTurn(socket, running.get(socket), unreadable(error.code, maxHeaderBytes));
  });
  server.on('connect', (_req: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    // The server has let go of this connection: nobody else would end it.
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
    inTurn(socket, running.get(socket), new WaggleError('not_found', 'This server opens no tunnels.'));
  });
}

/** The answers that are under way on each connection, in their order. */
function responsesOf(server: Server): WeakMap<Duplex, Set<ServerResponse>> {
  const running = new WeakMap<Duplex, Set<ServerResponse>>();
  server.on('request', ({ socket }: IncomingMessage, res: ServerResponse) => {
    let responses = running.get(socket);
    if (responses === undefined) {
      const all = new Set<ServerResponse>();
      // Node tells the answer whose turn it is that the caller has left, and none of those behind it.
      socket.once('close', () => {
        for (const abandoned of all) {
          abandoned.destroy();
          abandoned.emit('close');
        }
      });
      running.set(socket, (responses = all));
    }
    responses.add(res);
    res.once('close', () => running.get(socket)?.delete(res));
  });
  return running;
}

/** Refuses after the answers to earlier requests of the connection, and never in the middle of one. */
function inTurn(
  socket: Duplex,
  responses: ReadonlySet<ServerResponse> = new Set(),
  problem: WaggleError,
): void {
  const [first, ...others] = responses;
  if (first === undefined) {
    refuse(socket, problem);
  } else if (others.length > 0 || first.req.complete) {
    first.once('close', () => inTurn(socket, responses, problem));
  } else if (first.headersSent) {
    socket.destroy();
  } else {
    // The rest of this request is what cannot be read.
    refuse(socket, problem);
  }
}

function refuse(socket: Duplex, problem: WaggleError): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const requestId = newUlid();
  const body = JSON.stringify(problemDocument(problem, requestId));
  socket.end(
    `HTTP/1.1 ${problem.status} ${reasonOf(problem)}\r\n` +
      `Connection: close\r\nContent-Type: application/problem+json; charset=utf-8\r\nX-Request-Id: ${requestId}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  socket.resume();
  socket.once('end', () => socket.destroy());
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

function unreadable(code: string | undefined, maxHeaderBytes: number): WaggleError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new WaggleError(
        'payload_too_large',
        `The header fields are larger than ${maxHeaderBytes} bytes.`,
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new WaggleError('validation', 'The request did not arrive in time.');
    default:
      return new WaggleError('validation', 'This is not an HTTP request.');
  }
}

function reasonOf({ status }: WaggleError): string {
  switch (status) {
    case 404:
      return 'Not Found';
    case 413:
      return 'Content Too Large';
    default:
      return 'Bad Request';
  }
}
