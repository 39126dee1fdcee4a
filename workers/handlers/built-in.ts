import type { BulkControl } from '../../queues/jobs/bulk.ts';
import type { Tracing } from '../../src/shared/tracing.ts';
import { bulkHandler } from './bulk.ts';
import { echoHandler } from './echo.ts';
import { failHandler } from './fail.ts';
import { createAgent } from './http/guarded-agent.ts';
import { httpRequestHandler } from './http-request.ts';
import { createHandlerRegistry } from './registry.ts';
import type { HandlerRegistry } from './registry.ts';
import { sleepHandler } from './sleep.ts';

export interface BuiltInHandlers {
  readonly registry: HandlerRegistry;
  /** Ends the connections handlers keep open; requests under way are cut off. */
  close(): Promise<void>;
}

/** The handlers of all built-in tasks, with what they need to live. */
export function openBuiltInHandlers(options: {
  allowPrivateTargets: boolean;
  bulk: Pick<BulkControl, 'run'>;
  tracing: Tracing | null;
}): BuiltInHandlers {
  const agent = createAgent(options);
  const { allowPrivateTargets, bulk, tracing } = options;
  return {
    registry: createHandlerRegistry([
      echoHandler,
      sleepHandler,
      failHandler,
      bulkHandler(bulk),
      httpRequestHandler({ agent, allowPrivateTargets, tracing }),
    ]),
    close: () => agent.destroy(),
  };
}
