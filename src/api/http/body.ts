import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { WaggleError } from '../../shared/errors.ts';

/** What is read and thrown away past the limit, so that a caller who is a little over it gets to read the answer. */
const GRACE_BYTES = 4 * 1024 * 1024;

/** How long a caller may take to send a body, or the next piece of a stream. */
export const BODY_MS = 30_000;
export const NDJSON = 'application/x-ndjson';
const JSON_TYPE = /^application\/(?:[a-z0-9!#$&^_.-]+\+)?json$/;
const NDJSON_TYPE = /^application\/x-ndjson$/;

/** A caller went away before the request was complete: there is nobody to answer. */
export class RequestAbortedError extends Error {
  constructor() {
    super('the request was aborted by the caller');
    this.name = 'RequestAbortedError';
  }
}

/**
 * The JSON body of a request, parsed once and not yet validated.
 * @throws WaggleError unsupported_media_type, payload_too_large, malformed_json
 */
export async function readJson(req: IncomingMessage, limitBytes: number): Promise<unknown> {
  if (!hasBody(req)) throw new WaggleError('malformed_json', 'A JSON body is required.');
  if (req.headers['content-type'] !== 'application/json') checkType(req, JSON_TYPE, 'application/json');
  checkEncoding(req);
  const bytes = await readBytes(req, limitBytes);
  if (!isUtf8(bytes)) throw new WaggleError('malformed_json', 'The body is not valid UTF-8.');
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new WaggleError('malformed_json', 'The body is not JSON.', { cause: error });
  }
}

/**
 * The body's bytes, at most `limitBytes` of them.
 * @throws WaggleError payload_too_large
 */
export function readBytes(req: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const tooLarge = (): WaggleError =>
    new WaggleError('payload_too_large', `The body is larger than ${limitBytes} bytes.`);
  if (Number(req.headers['content-length'] ?? 0) > limitBytes + GRACE_BYTES)
    return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    endTooLate(req, () => reject(new WaggleError('validation', 'The request did not arrive in time.')));
    req.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= limitBytes) chunks.push(chunk);
      else if (length > limitBytes + GRACE_BYTES) reject(tooLarge());
    });
    req.on('end', () => {
      if (length > limitBytes) reject(tooLarge());
      else
        resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length));
    });
    req.on('error', () => reject(new RequestAbortedError()));
    // `close` follows every request; only one that is not complete was given up.
    req.on('close', () => {
      if (!req.complete) reject(new RequestAbortedError());
    });
  });
}

/**
 * Reads away a body that nobody wants, before the answer: closing a connection with unread bytes resets it, and the
 * caller would never see why. Resolves at once when there is nothing to read or more than is worth reading.
 */
export function discardBody(req: IncomingMessage): Promise<void> {
  if (!hasBody(req) || req.readableEnded || req.destroyed || tooLate.has(req)) return Promise.resolve();
  if (Number(req.headers['content-length'] ?? 0) > GRACE_BYTES) return Promise.resolve();
  return new Promise((resolve) => {
    let length = 0;
    endTooLate(req, resolve);
    req.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > GRACE_BYTES) resolve();
    });
    for (const event of ['end', 'error', 'close']) req.on(event, () => resolve());
  });
}

export function hasBody(req: IncomingMessage): boolean {
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
}

/** Requests whose bodies took too long; nobody waits for the rest of one. */
const tooLate = new WeakSet<IncomingMessage>();

/** The server itself gives requests no time, since a stream may take any. */
function endTooLate(req: IncomingMessage, end: () => void): void {
  const timer = setTimeout(() => {
    tooLate.add(req);
    end();
  }, BODY_MS).unref();
  for (const event of ['end', 'close']) req.once(event, () => clearTimeout(timer));
}

/** Whether a body is said to be newline-delimited JSON. */
export function isNdjson(req: IncomingMessage): boolean {
  return NDJSON_TYPE.test(essenceOf(req));
}

/**
 * Makes sure that a body is newline-delimited JSON that can be read.
 * @throws WaggleError unsupported_media_type
 */
export function checkNdjson(req: IncomingMessage): void {
  checkType(req, NDJSON_TYPE, NDJSON);
  checkEncoding(req);
}

function essenceOf(req: IncomingMessage): string {
  return (req.headers['content-type'] ?? '').toLowerCase().split(';')[0]?.trim() ?? '';
}

/** A compressed body is refused: it hides its size until unpacked. */
function checkEncoding(req: IncomingMessage): void {
  const encoding = req.headers['content-encoding'];
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return;
  throw new WaggleError('unsupported_media_type', 'A compressed body is not accepted; send it as it is.');
}

/** JSON on the wire is UTF-8 (RFC 8259, section 8.1). */
function checkType(req: IncomingMessage, wanted: RegExp, name: string): void {
  const [, ...parameters] = (req.headers['content-type'] ?? '').toLowerCase().split(';');
  if (!wanted.test(essenceOf(req))) {
    throw new WaggleError('unsupported_media_type', `The body must be ${name}.`);
  }
  for (const parameter of parameters) {
    const [key, value = ''] = parameter.split('=');
    if (key?.trim() === 'charset' && !/^\s*"?utf-?8"?\s*$/.test(value)) {
      throw new WaggleError('unsupported_media_type', 'The body must be UTF-8.');
    }
  }
}
