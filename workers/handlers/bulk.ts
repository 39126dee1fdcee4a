import type { BulkControl } from '../../queues/jobs/bulk.ts';
import { bulk } from '../../queues/tasks/bulk.ts';
import { handle } from './registry.ts';
import type { Registration } from './registry.ts';

export function bulkHandler(control: Pick<BulkControl, 'run'>): Registration {
  return handle(bulk, (ctx) => {
    const { tenant, job, signal } = ctx;
    return control.run(tenant, job.payload, {
      id: job.id,
      signal,
      onProgress: (progress) => ctx.progress(progress),
    });
  });
}
