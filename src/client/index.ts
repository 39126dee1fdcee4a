/** What `import … from 'waggle'` gives. */
export { WaggleClient } from './client.ts';
export { BatchEndedError, WaggleError } from './waggle-error.ts';
export type { WaggleErrorCode } from './waggle-error.ts';
export type { CallOptions, ClientOptions } from './transport.ts';
export type { CreateOptions, EnqueueOptions, JobInput } from './jobs.ts';
export type { FollowOptions } from './follow.ts';
export type { WaitOptions } from './waiting.ts';
export type { Flow, FlowReceipt, FlowTreeInput, Job, JobState, Problem, Why } from '../shared/schemas.ts';
export type { JobStreamEvent, LogLine } from '../shared/stream-schemas.ts';
export type { BulkAnswer } from '../shared/bulk-schemas.ts';
export type { ApiKey, Tenant, TenantSettingsInput, Usage } from '../shared/tenant-schemas.ts';
