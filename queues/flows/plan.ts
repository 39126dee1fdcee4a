import type { FlowJob } from 'bullmq';
import { WaggleError } from '../../src/shared/errors.ts';
import type { FieldError } from '../../src/shared/errors.ts';
import { newJobId } from '../../src/shared/ids.ts';
import type { FlowTree, OnChildFailure } from '../../src/shared/schemas.ts';
import { invalid } from '../../src/shared/validate.ts';
import type { FlowNodeRecord } from '../jobs/envelope.ts';
import { DEFAULT_QUEUE, prepareJob } from '../jobs/prepare.ts';
import type { PrepareContext, PreparedJob } from '../jobs/prepare.ts';

/** A node of a tree, with its place and its id. */
interface PlacedNode {
  tree: FlowTree;
  /** Where it stands in the request, such as `tree.children.0`. */
  path: string;
  parent: PlacedNode | null;
  children: PlacedNode[];
  id: string;
  name: string;
}

export interface FlowPlan {
  root: FlowJob;
  /** Every job of the flow, the root first. */
  jobs: PreparedJob[];
  nodes: FlowNodeRecord[];
}

export interface PlanContext extends Omit<PrepareContext, 'node' | 'path'> {
  /** The BullMQ prefix of the tenant's shard. */
  prefix: string;
  maxNodes: number;
  maxDepth: number;
}

/** What a child's final failure does to its parent, in BullMQ's options, which belong to the child. */
const PARENT_OPTIONS: Record<OnChildFailure, Record<string, true>> = {
  // The parent fails at once.
  fail: { failParentOnFailure: true },
  // The child moves to the parent's failed children, and the parent runs once no other child is left.
  // (`continueParentOnFailure` would run it at the first failure, beside children that still run.)
  continue: { ignoreDependencyOnFailure: true },
  // The same, without a trace of the child.
  ignore: { removeDependencyOnFailure: true },
};

/**
 * What a tree becomes: jobs with ids and names of their own, linked for BullMQ's flow producer.
 * @throws WaggleError validation, payload_too_large (too many nodes), unknown_task, invalid_payload
 */
export function planFlow(tree: FlowTree, context: PlanContext): FlowPlan {
  const placed = place(tree, context);
  nameAll(placed);
  const nodes = placed.map(nodeRecord);
  const jobs = placed.map((node) => prepareNode(node, placed[0] ?? node, context));
  const [rootJob] = jobs;
  if (rootJob) rootJob.envelope.nodes = nodes;
  return { root: linked(placed, jobs, context.prefix), jobs, nodes };
}

/** All nodes, the root first and every parent before its children; without recursion, so that no depth can hurt. */
function place(tree: FlowTree, { maxNodes, maxDepth }: PlanContext): PlacedNode[] {
  const placed: PlacedNode[] = [];
  const open: { tree: FlowTree; path: string; parent: PlacedNode | null; depth: number }[] = [
    { tree, path: 'tree', parent: null, depth: 1 },
  ];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    const { path, parent, depth } = next;
    if (depth > maxDepth)
      throw invalid('validation', [{ path, message: `is deeper than ${maxDepth} levels` }]);
    const node: PlacedNode = { tree: next.tree, path, parent, children: [], id: nodeId(next.tree), name: '' };
    checkStart(node);
    parent?.children.push(node);
    placed.push(node);
    for (const [place, child] of (next.tree.children ?? []).entries()) {
      open.push({ tree: child, path: `${path}.children.${place}`, parent: node, depth: depth + 1 });
    }
    if (placed.length + open.length > maxNodes) throw tooManyNodes(maxNodes);
  }
  return placed;
}

function nodeId(tree: FlowTree): string {
  return newJobId(tree.queue ?? DEFAULT_QUEUE);
}

function tooManyNodes(maxNodes: number): WaggleError {
  return new WaggleError('payload_too_large', `A flow has at most ${maxNodes} nodes.`, {
    errors: [{ path: 'tree', message: `has more than ${maxNodes} nodes` }],
  });
}

/** A node with children starts when they have ended, so only a pause after that makes sense for it. */
function checkStart({ tree, path }: PlacedNode): void {
  if (tree.runAt === undefined || (tree.children ?? []).length === 0) return;
  throw invalid('validation', [
    {
      path: `${path}.runAt`,
      message: 'is for nodes without children; with children use delayMs, counted from their end',
    },
  ]);
}

/** Given names stand; the others are the task, with a number from the second on. */
function nameAll(placed: PlacedNode[]): void {
  const taken = new Set<string>();
  const errors: FieldError[] = [];
  for (const node of placed) {
    const { name } = node.tree;
    if (name === undefined) continue;
    if (taken.has(name))
      errors.push({ path: `${node.path}.name`, message: 'is the name of another node too' });
    taken.add(name);
    node.name = name;
  }
  if (errors.length > 0) throw invalid('validation', errors);
  const next = new Map<string, number>();
  for (const node of placed) {
    if (node.name === '') node.name = freeName(node.tree.task, taken, next);
  }
}

function freeName(task: string, taken: Set<string>, next: Map<string, number>): string {
  for (let number = next.get(task) ?? 1; ; number += 1) {
    const name = number === 1 ? task : `${task}-${number}`;
    if (taken.has(name)) continue;
    taken.add(name);
    next.set(task, number + 1);
    return name;
  }
}

function nodeRecord(node: PlacedNode): FlowNodeRecord {
  return {
    name: node.name,
    id: node.id,
    task: node.tree.task,
    queue: node.tree.queue ?? DEFAULT_QUEUE,
    parents: node.parent === null ? [] : [node.parent.name],
    children: node.children.map((child) => child.name),
  };
}

function prepareNode(node: PlacedNode, root: PlacedNode, context: PlanContext): PreparedJob {
  return prepareJob(node.tree, {
    ...context,
    path: node.path,
    node: {
      id: node.id,
      flow: {
        id: root.id,
        parentId: node.parent?.id ?? null,
        name: node.name,
        onChildFailure: node.tree.onChildFailure ?? 'fail',
      },
    },
  });
}

/** BullMQ's tree; built from the leaves up, since every parent stands before its children. */
function linked(placed: PlacedNode[], jobs: PreparedJob[], prefix: string): FlowJob {
  const byId = new Map<string, FlowJob>();
  for (let i = placed.length - 1; i >= 0; i -= 1) {
    const node = placed[i];
    const job = jobs[i];
    if (node === undefined || job === undefined) continue;
    byId.set(node.id, flowJob(node, job, prefix, byId));
  }
  const root = placed[0] && byId.get(placed[0].id);
  if (root === undefined) throw new Error('a flow has at least its root');
  return root;
}

function flowJob(node: PlacedNode, job: PreparedJob, prefix: string, byId: Map<string, FlowJob>): FlowJob {
  const children = node.children.flatMap((child) => byId.get(child.id) ?? []);
  const parentOptions = node.parent === null ? {} : PARENT_OPTIONS[node.parent.tree.onChildFailure ?? 'fail'];
  const flow = {
    name: job.task,
    queueName: job.queue,
    prefix,
    data: job.envelope,
    opts: { ...job.options, ...parentOptions },
    ...(children.length > 0 ? { children } : {}),
  };
  return flow;
}
