import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { eventually } from './eventually.ts';
import { freePort } from './ports.ts';

export interface ClusterNode {
  readonly port: number;
  /** Its name in the cluster. */
  readonly id: string;
  /** A connection to this node alone, which follows no redirection. */
  readonly redis: Redis;
}

export interface Halfway {
  moved: RegExp;
  then: () => Promise<void>;
}

/** A Redis Cluster of masters without replicas. */
export interface RedisCluster {
  /** As REDIS_URL takes it. */
  readonly url: string;
  readonly nodes: readonly ClusterNode[];
  /** The node that holds the slot of this key. */
  ownerOf(key: string): Promise<ClusterNode>;
  /**
   * Moves the slot of this key to another node, key by key as redis-cli does, while clients go on.
   * @param halfway called when these of its keys have moved and the others have not
   * @returns how many keys went with it
   */
  moveSlotOf(key: string, to: ClusterNode, halfway?: Halfway): Promise<number>;
  /** Ends every node and resolves when they are gone. */
  stop(): Promise<void>;
}

const SLOTS = 16_384;
const KEYS_PER_MIGRATE = 10;

/** Starts real servers, without persistence, and makes them one cluster; they never outlive this process. */
export async function startRedisCluster(size = 3): Promise<RedisCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'waggle-cluster-'));
  const servers = await Promise.all(Array.from({ length: size }, () => startNode(folder)));
  const nodes = await Promise.all(servers.map(({ server }) => openNode(server)));
  await introduce(nodes, servers);
  const ownerOf = async (key: string): Promise<ClusterNode> => {
    const slot = Number(await nodes[0]?.redis.cluster('KEYSLOT', key));
    for (const node of nodes) if (await owns(node, slot)) return node;
    throw new Error(`No node says that it holds slot ${slot}`);
  };
  return {
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodes,
    ownerOf,
    async moveSlotOf(key, to, halfway) {
      const from = await ownerOf(key);
      const slot = Number(await from.redis.cluster('KEYSLOT', key));
      return from === to ? 0 : moveSlot(slot, from, to, nodes, halfway);
    },
    async stop() {
      for (const { redis } of nodes) redis.disconnect();
      await Promise.all(servers.map(({ server }) => server.stop()));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

interface StartedNode {
  server: EmbeddedRedis;
  busPort: number;
}

async function startNode(folder: string): Promise<StartedNode> {
  const busPort = await freePort();
  const cluster = {
    'cluster-enabled': 'yes',
    // By default 10000 above the other port, which may be none.
    'cluster-port': busPort,
    'cluster-config-file': join(folder, `nodes-${busPort}.conf`),
    // Nobody fails here, but on a machine with a lot to do a node may be slow to answer.
    'cluster-node-timeout': 30_000,
  };
  const extraArgs = Object.entries(cluster).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return { server: await startEmbeddedRedis({ extraArgs }), busPort };
}

async function openNode({ url, port }: EmbeddedRedis): Promise<ClusterNode> {
  const redis = new Redis(url, { maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  return { port, redis, id: String(await redis.cluster('MYID')) };
}

/** Shares the slots out and introduces the nodes to each other. */
async function introduce(nodes: readonly ClusterNode[], servers: readonly StartedNode[]): Promise<void> {
  const bound = (place: number): number => Math.floor((place * SLOTS) / nodes.length);
  const [first] = nodes;
  for (const [place, { redis, port }] of nodes.entries()) {
    await redis.call('CLUSTER', 'ADDSLOTSRANGE', bound(place), bound(place + 1) - 1);
    // Else two of them may start with the same one, and then disagree about who comes first.
    await redis.call('CLUSTER', 'SET-CONFIG-EPOCH', place + 1);
    const { busPort } = servers[place] ?? { busPort: 0 };
    if (place > 0) await first?.redis.call('CLUSTER', 'MEET', '127.0.0.1', port, busPort);
  }
  for (const { redis, port } of nodes) {
    await eventually(`node ${port} is part of a whole cluster`, async () => {
      const state = String(await redis.cluster('INFO'));
      return state.includes('cluster_state:ok') && state.includes(`cluster_known_nodes:${nodes.length}`);
    });
  }
}

async function owns({ redis, id }: ClusterNode, slot: number): Promise<boolean> {
  const ranges = await redis.cluster('SLOTS');
  return ranges.some(([from, to, master]) => master?.[2] === id && from <= slot && slot <= to);
}

async function moveSlot(
  slot: number,
  from: ClusterNode,
  to: ClusterNode,
  nodes: readonly ClusterNode[],
  halfway?: Halfway,
): Promise<number> {
  const migrate = async (keys: string[]): Promise<number> => {
    if (keys.length > 0) await from.redis.migrate('127.0.0.1', to.port, '', 0, 60_000, 'KEYS', ...keys);
    return keys.length;
  };
  const keysLeft = async (most: number): Promise<string[]> =>
    await from.redis.cluster('GETKEYSINSLOT', slot, most);

  await to.redis.cluster('SETSLOT', slot, 'IMPORTING', from.id);
  await from.redis.cluster('SETSLOT', slot, 'MIGRATING', to.id);
  let moved = 0;
  if (halfway) {
    moved += await migrate((await keysLeft(10_000)).filter((key) => halfway.moved.test(key)));
    await halfway.then();
  }
  for (let batch = -1; batch !== 0; moved += batch) batch = await migrate(await keysLeft(KEYS_PER_MIGRATE));
  // The new owner first: a slot must never be nobody's.
  for (const { redis } of [to, from, ...nodes.filter((node) => node !== to && node !== from)]) {
    await redis.cluster('SETSLOT', slot, 'NODE', to.id);
  }
  return moved;
}
