import type { ServerResponse } from 'node:http';

/**
 * What a route answers. `text` is sent as it is, `stream` writes the body by itself and ends it; anything else goes out as
 * JSON in `body`; a 204 has none of them.
 */
export interface Reply {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
  text?: { type: string; content: string };
  stream?: (res: ServerResponse) => Promise<void>;
}

/** Resolves when all of the answer is written. */
export async function sendReply(res: ServerResponse, reply: Reply): Promise<void> {
  res.statusCode = reply.status;
  // Everything here is some tenant's state at this moment.
  res.setHeader('Cache-Control', 'no-store');
  for (const name in reply.headers) res.setHeader(name, reply.headers[name] ?? '');
  if (reply.stream !== undefined) return reply.stream(res);
  if (reply.text !== undefined) {
    res.setHeader('Content-Type', reply.text.type);
    res.end(reply.text.content);
    return;
  }
  if (reply.status === 204) {
    res.end();
    return;
  }
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  res.end(JSON.stringify(reply.body));
}
