import type { AuditEntry, AuditPage, AuditQuery } from '../shared/audit-schemas.ts';
import type { Usage } from '../shared/tenant-schemas.ts';
import { FlowsClient } from './flows.ts';
import { JobsClient } from './jobs.ts';
import { BulkClient, DeadLettersClient } from './many-jobs.ts';
import { OverallLimitsClient } from './overall-limits.ts';
import { itemsOf } from './pages.ts';
import { KeysClient, TenantsClient } from './tenants.ts';
import { Transport } from './transport.ts';
import type { CallOptions, ClientOptions } from './transport.ts';

/**
 * The API as one caller sees it, for Node 20 and browsers: it needs nothing but `fetch`. Every call fails with a
 * WaggleError, or with the reason of the signal it was given. Calls that met something passing (no answer, 429, 503 and
 * what proxies answer in their stead) are sent again, after a pause and not before `Retry-After`; those that enqueue carry
 * an idempotency key, so that this enqueues nothing twice.
 */
export class WaggleClient {
  readonly jobs: JobsClient;
  readonly bulk: BulkClient;
  readonly deadLetters: DeadLettersClient;
  readonly flows: FlowsClient;
  readonly tenants: TenantsClient;
  readonly keys: KeysClient;
  readonly queues: OverallLimitsClient;
  readonly tasks: OverallLimitsClient;
  readonly #transport: Transport;

  constructor(options: ClientOptions) {
    const transport = new Transport(options);
    this.#transport = transport;
    this.jobs = new JobsClient(transport);
    this.bulk = new BulkClient(transport);
    this.deadLetters = new DeadLettersClient(transport);
    this.flows = new FlowsClient(transport, this.jobs);
    this.tenants = new TenantsClient(transport);
    this.keys = new KeysClient(transport);
    this.queues = new OverallLimitsClient(transport, 'queues');
    this.tasks = new OverallLimitsClient(transport, 'tasks');
  }

  /** The caller's own tenant: what it may use, uses and has waiting. */
  me({ signal }: CallOptions = {}): Promise<Usage> {
    return this.#transport.json({ method: 'GET', path: '/v1/me', signal });
  }

  /** What was administered, newest first; for the admin. */
  audit(
    query: Partial<Omit<AuditQuery, 'cursor'>> = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<AuditEntry, void, undefined> {
    return itemsOf(async (cursor) => {
      const page = await this.#transport.json<AuditPage>({
        method: 'GET',
        path: '/v1/audit',
        query: { ...query, cursor },
        signal,
      });
      return { items: page.entries, nextCursor: page.nextCursor };
    });
  }
}
