import type { z } from 'zod';
import { AuditPage } from '../../../shared/audit-schemas.ts';
import { BulkAnswer } from '../../../shared/bulk-schemas.ts';
import { ApiKeyList } from '../../../shared/key-schemas.ts';
import { Limited } from '../../../shared/overall-schemas.ts';
import { PurgeStatus } from '../../../shared/purge-schemas.ts';
import * as wire from '../../../shared/schemas.ts';
import { LogPage } from '../../../shared/stream-schemas.ts';
import { ApiKey, Tenant, Usage } from '../../../shared/tenant-schemas.ts';
import * as jobs from './jobs.ts';
import * as tenants from './tenants.ts';

/** What is shown of a schema that has no example among its own words, since it would drown them. */
const examples: ReadonlyMap<z.ZodType, unknown> = new Map<z.ZodType, unknown>([
  [wire.Job, jobs.job],
  [wire.JobPage, jobs.jobPage],
  [BulkAnswer, { matched: 12, isExact: true, job: jobs.bulkJob }],
  [wire.Why, jobs.why],
  [wire.BatchRequest, jobs.batchRequest],
  [wire.BatchResult, jobs.batchResult],
  [wire.BatchResponse, jobs.batchResponse],
  [LogPage, jobs.logPage],
  [wire.FlowReceipt, jobs.flowReceipt],
  [wire.Flow, jobs.flow],
  [Tenant, tenants.tenant],
  [ApiKey, tenants.apiKey],
  [ApiKeyList, { keys: [tenants.apiKeyInfo] }],
  [PurgeStatus, tenants.purgeStatus],
  [Limited, tenants.limited],
  [Usage, tenants.usage],
  [AuditPage, tenants.auditPage],
]);

/** An example of what a schema takes or gives; undefined when nobody has given one. */
export function exampleOf(schema: z.ZodType): unknown {
  const [example] = (schema.meta()?.examples ?? []) as unknown[];
  return examples.get(schema) ?? example;
}
