import { RedisConnection } from 'bullmq';
import { fairScripts } from './scripts.ts';
import type { UnprioritizedPlace } from './scripts.ts';

/**
 * BullMQ names its commands `script:version` on the client. Another version text is another set of scripts on the same
 * client, so stock and fair backends can share one.
 */
export function fairVersion(version: string, unprioritized: UnprioritizedPlace): string {
  return `${version}-fair-${unprioritized}`;
}

/** A connection class that loads the fair scripts where BullMQ loads its own: before the client is handed to anybody. */
export function fairConnection(unprioritized: UnprioritizedPlace): typeof RedisConnection {
  // The place comes by closure: BullMQ may load the commands before a subclass' fields exist.
  return class extends RedisConnection {
    protected override loadCommands(
      ...[version, scripts]: Parameters<RedisConnection['loadCommands']>
    ): void {
      super.loadCommands(version, scripts);
      const fair = fairScripts(unprioritized).map((script) => [script.name, script] as const);
      super.loadCommands(fairVersion(version, unprioritized), Object.fromEntries(fair));
    }
  };
}
