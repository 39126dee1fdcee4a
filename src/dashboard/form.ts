import type { Request } from 'express';
import { readBytes } from '../api/http/body.ts';
import { WaggleError } from '../shared/errors.ts';

const MAX_FORM_BYTES = 8 * 1024;

/**
 * The fields of a form that a browser sent.
 * @throws WaggleError unsupported_media_type, payload_too_large
 */
export async function readForm(req: Request): Promise<URLSearchParams> {
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(req.headers['content-type'] ?? '')) {
    throw new WaggleError('unsupported_media_type', 'Send the form as application/x-www-form-urlencoded.');
  }
  const form = await readBytes(req, MAX_FORM_BYTES);
  return new URLSearchParams(form.toString('utf8'));
}
