import type { FlowNodeRecord, JobEnvelope } from '../../queues/jobs/envelope.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import { parseEnvelope } from './envelope.ts';
import type { ShardSource } from './source.ts';

/** Results of the nodes a job waited for, by node name. Two reads for an inner node of a flow, one for others of it. */
export async function parentResults(
  source: ShardSource,
  jobId: string,
  envelope: JobEnvelope,
): Promise<Record<string, unknown>> {
  if (envelope.flow === null) return {};
  const results = await source.backend.getProcessedChildrenValues(jobId);
  const keys = Object.keys(results);
  if (keys.length === 0) return {};
  const nodes = envelope.nodes ?? (await nodesOfFlow(source, envelope.flow.id));
  const names = new Map(nodes.map((node) => [node.id, node.name]));
  return Object.fromEntries(
    keys.map((key) => {
      const { id } = source.backend.parseNodeKey(key);
      return [names.get(id) ?? id, parsed(results[key])];
    }),
  );
}

/** The root alone knows the names of all nodes. A flow lies in one shard, so its root is a neighbour. */
async function nodesOfFlow(source: ShardSource, rootId: string): Promise<FlowNodeRecord[]> {
  const queue = queueOfJobId(rootId);
  if (queue === null) return [];
  const root = await source.backend.forQueue(queue).getJobData(rootId);
  const envelope = root === undefined ? null : parseEnvelope(parsed(root.data));
  return envelope?.nodes ?? [];
}

function parsed(json: string | undefined): unknown {
  try {
    return JSON.parse(json ?? 'null') as unknown;
  } catch {
    return json;
  }
}
