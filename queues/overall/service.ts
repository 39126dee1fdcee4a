import { WaggleError } from '../../src/shared/errors.ts';
import { isQueueName, isTaskName } from '../../src/shared/ids.ts';
import { OverallLimits } from '../../src/shared/overall-schemas.ts';
import type { Limited, OverallLimitsInput } from '../../src/shared/overall-schemas.ts';
import { invalid, parse } from '../../src/shared/validate.ts';
import type { Gate, GateState } from '../fair/index.ts';
import { DEFAULT_QUEUE } from '../jobs/prepare.ts';
import type { WorkerPresence } from '../topology/presence.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import { balance } from './balance.ts';
import type { Definition, Round, Shard } from './balance.ts';
import { Shares } from './shares.ts';
import { inTurn } from './turns.ts';
import type { Balancing, Limits, OverallStanding, Running } from './types.ts';

type Kind = 'queue' | 'task';

interface Stored {
  limits: OverallLimits;
  createdAt: number;
  updatedAt: number;
}

const GATES = { queue: 'q', task: 't' } as const;
const IS_NAME = { queue: isQueueName, task: isTaskName };
/** Rounds of a caller whom others keep overtaking; each of those applied what was stored by then. */
const MAX_ROUNDS = 5;

/** What whole queues and tasks may do, over all tenants and shards: stored once, and in parts in every shard. */
export class OverallLimitsService implements Balancing, OverallStanding {
  readonly queues: Limits = new NamedLimits(this, 'queue');
  readonly tasks: Limits = new NamedLimits(this, 'task');
  readonly #topology: Topology;
  readonly #presence: WorkerPresence;

  constructor(topology: Topology, presence: WorkerPresence) {
    this.#topology = topology;
    this.#presence = presence;
  }

  get channel(): string {
    return this.#topology.keys.overallLimits;
  }

  async isNeeded(): Promise<boolean> {
    return (await this.#topology.redis.exists(this.#topology.keys.overallLimits)) === 1;
  }

  takeOver(): Promise<number> {
    return this.#topology.redis.incr(this.#topology.keys.overallFence);
  }

  balance(fence: number, shares: Shares): Promise<Round> {
    const { redis, keys } = this.#topology;
    return inTurn(redis, keys.overallRound, async () => {
      const shards = await Promise.all(this.#shards().map((shard, i) => this.#withWorkers(shard, i)));
      return balance(shards, await this.#definitions(), fence, shares);
    });
  }

  async holdLease(owner: string, forMs: number): Promise<boolean> {
    const { redis, keys } = this.#topology;
    if ((await redis.set(keys.overallLease, owner, 'PX', forMs, 'NX')) === 'OK') return true;
    if ((await redis.get(keys.overallLease)) !== owner) return false;
    // Should it be another's by now, it only lasts longer: what one of two changes the shards refuse.
    await redis.pexpire(keys.overallLease, forMs);
    return true;
  }

  async dropLease(owner: string): Promise<void> {
    const { redis, keys } = this.#topology;
    if ((await redis.get(keys.overallLease)) === owner) await redis.del(keys.overallLease);
  }

  async running(kind: Gate['kind'], name: string): Promise<Running> {
    const [definition] = (await this.#definitions()).filter(
      (each) => each.kind === kind && each.name === name,
    );
    const states = await Promise.all(this.#shards().map((shard) => shard.changeGates()));
    const own = states
      .flatMap((each) => each ?? [])
      .filter((each) => each.kind === kind && each.name === name);
    return { run: own.reduce((sum, { run }) => sum + run, 0), max: definition?.limits.maxRunning ?? null };
  }

  async read(field: string): Promise<Stored | null> {
    const stored = await this.#topology.redis.hget(this.#topology.keys.overallLimits, field);
    return stored === null ? null : (JSON.parse(stored) as Stored);
  }

  async names(kind: Kind): Promise<string[]> {
    const fields = await this.#topology.redis.hkeys(this.#topology.keys.overallLimits);
    return fields
      .filter((field) => field.startsWith(`${kind}:`))
      .map((field) => field.slice(kind.length + 1));
  }

  /** Stores what is given, or takes it away, and brings it to every shard. @returns whether anything was stored before */
  async store(field: string, stored: Stored | null): Promise<boolean> {
    const { redis, keys } = this.#topology;
    const wasThere =
      stored === null
        ? (await redis.hdel(keys.overallLimits, field)) === 1
        : (await redis.hset(keys.overallLimits, field, JSON.stringify(stored))) === 0;
    try {
      await this.#apply();
    } finally {
      // To workers, who keep the parts of the shards in balance, and finish what could not be done here.
      await redis.publish(this.channel, field);
    }
    return wasThere;
  }

  async #apply(): Promise<void> {
    const shares = new Shares();
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      if ((await this.balance(await this.takeOver(), shares)) !== 'stale') return;
    }
  }

  async #definitions(): Promise<Definition[]> {
    const all = await this.#topology.redis.hgetall(this.#topology.keys.overallLimits);
    return Object.entries(all).map(([field, stored]) => {
      const [kind = ''] = field.split(':', 1);
      const { limits } = JSON.parse(stored) as Stored;
      return { kind: GATES[kind as Kind], name: field.slice(kind.length + 1), limits };
    });
  }

  /** A shard where what no worker serves has no demand: units would lie idle there while others wait for them. */
  async #withWorkers(shard: Shard, index: number): Promise<Shard> {
    const queues = await this.#presence.queues(index);
    const isServed = ({ kind, name }: GateState): boolean =>
      kind === 'q' ? queues.has(name) : queues.size > 0;
    return {
      changeGates: async (changes, fence) => {
        const states = await shard.changeGates(changes, fence);
        return states && states.map((state) => (isServed(state) ? state : { ...state, waiting: 0 }));
      },
    };
  }

  #shards(): Shard[] {
    const { shards } = this.#topology;
    return Array.from({ length: shards }, (_, shard) =>
      this.#topology.queue(shard, DEFAULT_QUEUE).getBackend(),
    );
  }
}

/** The limits of one kind, as the API has them. */
class NamedLimits implements Limits {
  readonly #service: OverallLimitsService;
  readonly #kind: Kind;

  constructor(service: OverallLimitsService, kind: Kind) {
    this.#service = service;
    this.#kind = kind;
  }

  async put(name: string, input: OverallLimitsInput): Promise<Limited> {
    if (!IS_NAME[this.#kind](name))
      throw invalid('validation', [{ path: 'name', message: `is not a ${this.#kind} name` }]);
    const limits = parse(OverallLimits, input);
    return withRedis(async () => {
      const now = Date.now();
      const known = await this.#service.read(this.#field(name));
      await this.#service.store(this.#field(name), {
        limits,
        createdAt: known?.createdAt ?? now,
        updatedAt: now,
      });
      return this.get(name);
    });
  }

  async get(name: string): Promise<Limited> {
    if (!IS_NAME[this.#kind](name)) throw this.#unknown();
    return withRedis(async () => {
      const stored = await this.#service.read(this.#field(name));
      return {
        name,
        maxRunning: stored?.limits.maxRunning ?? null,
        rate: stored?.limits.rate ?? null,
        configured: stored !== null,
        createdAt: stored && new Date(stored.createdAt).toISOString(),
        updatedAt: stored && new Date(stored.updatedAt).toISOString(),
      };
    });
  }

  async list(): Promise<Limited[]> {
    const names = await withRedis(() => this.#service.names(this.#kind));
    return Promise.all(names.sort().map((name) => this.get(name)));
  }

  async remove(name: string): Promise<void> {
    if (!IS_NAME[this.#kind](name) || !(await withRedis(() => this.#service.store(this.#field(name), null))))
      throw this.#unknown();
  }

  #field(name: string): string {
    return `${this.#kind}:${name}`;
  }

  #unknown(): WaggleError {
    return new WaggleError('not_found', `There are no limits of such a ${this.#kind}.`);
  }
}
