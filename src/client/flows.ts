import type { Flow, FlowReceipt, FlowTreeInput } from '../shared/schemas.ts';
import { enqueueHeaders } from './jobs.ts';
import type { EnqueueOptions, JobsClient } from './jobs.ts';
import { pathOf } from './transport.ts';
import type { CallOptions, Transport } from './transport.ts';
import { untilDeadline } from './waiting.ts';
import type { WaitOptions } from './waiting.ts';

/** Flows of the caller's tenant. */
export class FlowsClient {
  readonly #transport: Transport;
  readonly #jobs: JobsClient;

  constructor(transport: Transport, jobs: JobsClient) {
    this.#transport = transport;
    this.#jobs = jobs;
  }

  /** Enqueues a flow, all of it or nothing. */
  create(flow: { tree: FlowTreeInput }, options: EnqueueOptions = {}): Promise<FlowReceipt> {
    return this.#transport.json({
      method: 'POST',
      path: '/v1/flows',
      body: flow,
      headers: enqueueHeaders(options),
      signal: options.signal,
    });
  }

  get(id: string, { signal }: CallOptions = {}): Promise<Flow> {
    return this.#transport.json({ method: 'GET', path: pathOf`/v1/flows/${id}`, signal });
  }

  /**
   * The flow when it has ended, well or not.
   * @throws WaggleError timeout
   */
  waitFor(id: string, options: WaitOptions = {}): Promise<Flow> {
    return untilDeadline(`flow ${id}`, options, async (signal) => {
      // A flow ends with its root, whose id it has.
      await this.#jobs.waitFor(id, { signal });
      return this.get(id, { signal });
    });
  }
}
