import type { OnChildFailure } from '../../src/shared/schemas.ts';

/** A node as the root of its flow remembers it: what GET of the flow needs when a node's own job is gone. */
export interface FlowNodeRecord {
  name: string;
  id: string;
  task: string;
  queue: string;
  /** Names of the nodes that wait for this one. */
  parents: string[];
  /** Names of the nodes this one waits for. */
  children: string[];
}

export interface FlowMembership {
  /** The id of the root's job. */
  id: string;
  parentId: string | null;
  /** The node's name, unique in its flow. */
  name: string;
  onChildFailure: OnChildFailure;
}

/** What a BullMQ job of Waggle carries as its body. */
export interface JobEnvelope {
  /** On a job that collects the payloads of others, whose payload is `{payloads: [...]}` and the last field of all. */
  collects?: true;
  payload: unknown;
  tenant: string;
  correlationId: string;
  /** W3C trace context of what enqueued the job, if there is one. */
  traceparent?: string;
  tags: string[];
  timeoutMs: number | null;
  /** A job that has not started by then (ms epoch) expires. */
  expiresAt: number | null;
  retainMs: { completed: number; failed: number };
  flow: FlowMembership | null;
  /** Every node of the flow, on its root only. */
  nodes?: FlowNodeRecord[];
}
