import { BulkOrder } from '../../src/shared/bulk-schemas.ts';
import { defineTask } from './define-task.ts';

/** Cancels or retries all jobs of a filter. Repeating it does no harm, so it is repeated until it has been through. */
export const bulk = defineTask({
  name: 'jobs.bulk',
  payload: BulkOrder,
  defaults: { attempts: 10 },
});
