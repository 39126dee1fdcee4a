import { z } from 'zod';
import { Scope } from './tenant-schemas.ts';

/** The wire types of API keys as they are listed. See schemas.ts for the rules of all wire types. */

export const ApiKeyInfo = z
  .strictObject({
    id: z.string(),
    scopes: z.array(Scope),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime().nullable(),
    lastUsedAt: z.iso
      .datetime()
      .nullable()
      .meta({ description: 'To within a minute; null when it never was.' }),
    revoked: z.boolean(),
  })
  .meta({ id: 'ApiKeyInfo', description: 'A key without its secret.' });
export type ApiKeyInfo = z.output<typeof ApiKeyInfo>;

export const ApiKeyList = z.strictObject({ keys: z.array(ApiKeyInfo) }).meta({
  id: 'ApiKeyList',
  description: "A tenant's keys, those revoked or expired in the last seven days included.",
});
