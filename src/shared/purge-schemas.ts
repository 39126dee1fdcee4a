import { z } from 'zod';

/** The wire types of removing tenants. See schemas.ts for the rules of all wire types. */

export const TenantRemoval = z
  .strictObject({
    purge: z
      .enum(['true', 'false'], 'must be true or false')
      .default('false')
      .transform((value) => value === 'true')
      .meta({ description: 'Whether everything the tenant owns goes, its jobs first of all.' }),
  })
  .meta({ id: 'TenantRemoval' });

export const PurgeStatus = z
  .strictObject({
    tenant: z.string(),
    removed: z.int().meta({ description: 'Jobs that this call removed.' }),
    remaining: z.int().meta({ description: 'Jobs that are left; 0 while only other records are.' }),
  })
  .meta({ id: 'PurgeStatus', description: 'A purge that goes on.' });
export type PurgeStatus = z.output<typeof PurgeStatus>;
