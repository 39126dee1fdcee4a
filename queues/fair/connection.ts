import { RedisConnection } from 'bullmq';
import { fairScripts, kindName } from './scripts.ts';
import type { ScriptKind } from './scripts.ts';

/**
 * BullMQ names its commands `script:version` on the client. Another version text is another set of scripts on the same
 * client, so stock and fair backends can share one.
 */
export function fairVersion(version: string, kind: ScriptKind): string {
  return `${version}-fair-${kindName(kind)}`;
}

/** What decides how the scripts are loaded and called. */
export interface ScriptRules extends ScriptKind {
  /**
   * Whether every script names one more key, one that never exists, as in a cluster. A slot moves from node to node key by
   * key, and a script that runs meanwhile meets half a queue, and stops in the middle at a key that has gone ahead. Redis
   * looks at the named keys only: when some are there and some are not it answers TRYAGAIN until the slot has arrived.
   */
  readonly guarded: boolean;
}

/** The key that never exists, in the slot of a script's first key. */
export const guardKey = (key: string): string => `${key}:fair:absent`;

/** A connection class that loads the fair scripts where BullMQ loads its own: before the client is handed to anybody. */
export function fairConnection(rules: ScriptRules): typeof RedisConnection {
  // The rules come by closure: BullMQ may load the commands before a subclass' fields exist.
  return class extends RedisConnection {
    protected override loadCommands(
      ...[version, scripts]: Parameters<RedisConnection['loadCommands']>
    ): void {
      super.loadCommands(version, scripts);
      const fair = fairScripts(rules).map((script) => {
        const keys = script.keys + (rules.guarded ? 1 : 0);
        return [script.name, { ...script, keys }] as const;
      });
      super.loadCommands(fairVersion(version, rules), Object.fromEntries(fair));
    }
  };
}
