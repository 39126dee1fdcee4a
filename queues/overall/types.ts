import type { Limited, OverallLimitsInput } from '../../src/shared/overall-schemas.ts';
import type { Gate } from '../fair/index.ts';
import type { Round } from './balance.ts';
import type { Shares } from './shares.ts';

/** Limits of whole queues, or of whole tasks, over all tenants and shards. */
export interface Limits {
  /** Stores the limits and brings them to every shard; they hold from the next pick on. @throws WaggleError validation */
  put(name: string, limits: OverallLimitsInput): Promise<Limited>;
  /** The queue or task; one nobody configured has no limits. @throws WaggleError not_found for what is no such name */
  get(name: string): Promise<Limited>;
  /** Every configured one, by name. */
  list(): Promise<Limited[]>;
  /** Takes its limits away. @throws WaggleError not_found for one that has none */
  remove(name: string): Promise<void>;
}

/** How many jobs a limit counts over all shards, and how many it allows; null = any number. */
export interface Running {
  run: number;
  max: number | null;
}

/** What keeps the parts of the shards right; workers do that. */
export interface Balancing {
  /** Whether there is anything to balance. One call. */
  isNeeded(): Promise<boolean>;
  /** A number above all that were given before: who has it may balance until somebody has a higher one. */
  takeOver(): Promise<number>;
  /** Brings every shard's part to where it should be. @param fence from {@link takeOver} */
  balance(fence: number, shares: Shares): Promise<Round>;
  /** One caller has the lease at a time, for so long; true while it is `owner`. */
  holdLease(owner: string, forMs: number): Promise<boolean>;
  /** Gives the lease back. */
  dropLease(owner: string): Promise<void>;
  /** The channel on which every change of limits is told. */
  readonly channel: string;
}

export interface OverallStanding {
  /** What a closed gate holds over all shards. */
  running(kind: Gate['kind'], name: string): Promise<Running>;
}
