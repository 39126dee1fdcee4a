import { collectDefaultMetrics, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';

/** The connections of a process to Redis by their purpose, and whether commands would go through now. */
export type Connections = () => Record<string, boolean>;

/** Event loop lag, memory, processor time and the like of this process, under the names that Node programs have them by. */
export function measureProcess(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
}

/** What any process says of its connections to Redis, as they are when it is asked. */
export function measureConnections(registry: Registry, connections: Connections): void {
  new Gauge({
    name: 'waggle_redis_connected',
    help: 'Whether a connection to Redis is open: 1 or 0.',
    labelNames: ['connection'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [connection, open] of Object.entries(connections())) this.set({ connection }, Number(open));
    },
  });
}
