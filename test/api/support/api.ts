import { Agent, request } from 'node:http';
import type { OutgoingHttpHeaders } from 'node:http';
import { assertDocumented } from './documented.ts';
import type { SeenAnswer } from './documented.ts';
import { startEntry } from './process.ts';
import type { EntryProcess } from './process.ts';

export const ADMIN_TOKEN = 'admin-token-for-the-tests';

export type Answer = SeenAnswer;

export interface CallOptions {
  token?: string | undefined;
  headers?: OutgoingHttpHeaders;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is. */
  raw?: string | Buffer;
  agent?: Agent;
}

/** The API server as a process, and a client for it. */
export interface Api {
  readonly process: EntryProcess;
  readonly port: number;
  readonly url: string;
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  admin(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** A key of `tenant`, made through the API. */
  key(tenant: string, scopes?: string[]): Promise<string>;
  stop(): Promise<number | null>;
}

export async function startApi(redisUrl: string, env: Record<string, string> = {}): Promise<Api> {
  const server = startEntry('src/main.ts', {
    REDIS_URL: redisUrl,
    PORT: '0',
    WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN,
    ...env,
  });
  const { port } = (await server.logged('listening')) as { port: number };
  const shared = new Agent({ keepAlive: true, maxSockets: 32 });
  const call: Api['call'] = async (method, path, options = {}) => {
    const answer = await send(port, method, path, { agent: shared, ...options });
    assertDocumented(method, path, answer);
    return answer;
  };
  const admin: Api['admin'] = (method, path, options = {}) =>
    call(method, path, { token: ADMIN_TOKEN, ...options });
  return {
    process: server,
    port,
    url: `http://127.0.0.1:${port}`,
    call,
    admin,
    async key(tenant, scopes = ['jobs:read', 'jobs:write']) {
      const answer = await admin('POST', `/v1/tenants/${tenant}/keys`, { body: { scopes } });
      if (answer.status !== 201) throw new Error(`no key: ${answer.text}`);
      return answer.json.secret as string;
    },
    stop() {
      shared.destroy();
      return server.stop();
    },
  };
}

/** One request. Rejects when the connection breaks, and after 70 s without an answer. */
export function send(
  port: number,
  method: string,
  path: string,
  { token, headers, body, raw, agent }: CallOptions,
): Promise<Answer> {
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const sent: OutgoingHttpHeaders = {
    ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...(content === undefined || headers?.['Transfer-Encoding']
      ? {}
      : { 'Content-Length': Buffer.byteLength(content) }),
    ...headers,
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port, method, path, headers: sent, ...(agent === undefined ? {} : { agent }) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parsed(text) });
        });
      },
    );
    outgoing.setTimeout(70_000, () => outgoing.destroy(new Error(`no answer to ${method} ${path}`)));
    outgoing.on('error', reject);
    outgoing.end(content);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
