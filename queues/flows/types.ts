import type { Flow, FlowReceipt, FlowTree } from '../../src/shared/schemas.ts';
import type { EnqueueContext } from '../jobs/types.ts';

export interface Flows {
  /**
   * Accepts a whole tree or nothing of it.
   * @throws WaggleError validation, unknown_task, invalid_payload, payload_too_large, redis_unavailable
   */
  enqueue(tenant: string, tree: FlowTree, context: EnqueueContext): Promise<FlowReceipt>;
  /** @throws WaggleError not_found */
  get(tenant: string, id: string): Promise<Flow>;
  /**
   * Ends every node of the flow that has not started and can no longer matter, because a node above it failed or ended.
   * Idempotent; called by workers whenever a node of a flow fails for good.
   * @returns how many nodes this call cancelled
   */
  cancelUnstarted(tenant: string, id: string): Promise<number>;
}
