/**
 * What a whole queue (`q`) or a whole task (`t`) may do under one prefix, over all groups; see lua/ring/gates.lua.
 * Without `m` any number of its jobs may be active, without `e` they may start as fast as they can.
 */
export interface Gate {
  kind: 'q' | 't';
  name: string;
  /** Jobs that may be active at once. */
  m?: number;
  /** The rate: microseconds between two starts, and how many may start at once after a quiet time... */
  e?: number;
  b?: number;
  /** ...of which this prefix has so many: its part of the rate is a of b. */
  a?: number;
}

/** A gate that is to be as it says from now on; one with a rate gets `tokens` beside those it has. `gone`: there is none. */
export type GateChange = (Gate & { tokens?: number }) | { kind: Gate['kind']; name: string; gone: true };

export interface GateState extends Gate {
  /** Starts that its rate allows now, and those that the change took from it; fractions count. */
  tokens: number;
  surplus: number;
  /** Jobs that are active. */
  run: number;
  /** Jobs that wait and that it may hold back, and the summed weight of their groups. */
  waiting: number;
  weight: number;
}

/** A gate that lets nothing pass now; `due` in ms of Redis' clock when it will, if that is known. */
export interface ClosedGate {
  run: number;
  max?: number;
  due?: number;
}
