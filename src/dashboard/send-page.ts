import type { Response } from 'express';

/** Answers with a page, which no cache keeps: it is the admin's, and of this moment. */
export function sendPage(res: Response, status: number, html: string): void {
  res.status(status).setHeader('Cache-Control', 'no-store').type('html').send(html);
}
