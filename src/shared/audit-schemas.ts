import { z } from 'zod';
import { pageLimit } from './schemas.ts';

/** The wire types of the record of what was administered. See schemas.ts for the rules of all wire types. */

export const AuditEntry = z
  .strictObject({
    id: z.string(),
    at: z.iso.datetime(),
    actor: z.string().meta({ description: 'Who did it: `admin`, or the id of a key.' }),
    action: z.string().meta({
      description: 'The operation id of the call, `dashboardLogin`, or `dashboardWrite`.',
      examples: ['putTenant'],
    }),
    target: z.string().meta({ description: 'The path of the call.', examples: ['/v1/tenants/acme'] }),
    tenant: z.string().nullable().meta({ description: 'Whom it concerns, where that is one tenant.' }),
    requestId: z.string(),
    status: z.int().meta({ description: 'How the call was answered.' }),
    detail: z.record(z.string(), z.unknown()).meta({ description: 'What was done, without secrets.' }),
  })
  .meta({ id: 'AuditEntry' });
export type AuditEntry = z.output<typeof AuditEntry>;

export const AuditQuery = z
  .strictObject({
    tenant: z.string().min(1).max(64).optional(),
    action: z.string().min(1).max(64).optional(),
    limit: pageLimit(200, 50),
    cursor: z
      .string()
      .regex(/^\d{1,15}-\d{1,15}$/, 'is not a cursor of this list')
      .optional(),
  })
  .meta({ id: 'AuditQuery', description: 'Filters are ANDed; newest first.' });
export type AuditQuery = z.output<typeof AuditQuery>;

export const AuditPage = z
  .strictObject({ entries: z.array(AuditEntry), nextCursor: z.string().nullable() })
  .meta({
    id: 'AuditPage',
    description: 'A page may hold fewer entries than asked for and still have a next one.',
  });
export type AuditPage = z.output<typeof AuditPage>;
