import type { IncomingMessage } from 'node:http';
import type { RequestHandler } from 'express';
import { WaggleError } from '../../shared/errors.ts';

/**
 * A request names its host once, one of HTTP/1.0 at most once (RFC 9112, section 3.2): a proxy might go by another one than
 * this server.
 */
export function oneHost(): RequestHandler {
  return (req, _res, next) => {
    const hosts = hostsOf(req);
    if (hosts === 1 || (hosts === 0 && req.httpVersion === '1.0')) next();
    else next(new WaggleError('validation', 'The request must name its host, once.'));
  };
}

/** Counted in the raw fields: of several, Node's parser keeps the first without a word. */
function hostsOf({ rawHeaders }: IncomingMessage): number {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  return hosts;
}
