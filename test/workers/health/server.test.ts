import { afterEach, expect, test } from '@jest/globals';
import { WorkerMetrics } from '../../../workers/health/metrics.ts';
import { startHealthServer } from '../../../workers/health/server.ts';
import type { HealthServer } from '../../../workers/health/server.ts';

let health: HealthServer | undefined;

afterEach(() => health?.close());

test('tells life, readiness and metrics apart', async () => {
  let reason: string | null = 'draining';
  const metrics = new WorkerMetrics();
  metrics.gauges = {
    active: () => 3,
    budget: () => 10,
    slotRepairs: () => 0,
    connections: () => ({ jobs: true }),
  };
  metrics.finished.inc({ task: 'echo', outcome: 'complete' });
  health = await startHealthServer({
    port: 0,
    notReady: () => Promise.resolve(reason),
    registry: metrics.registry,
  });
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${health?.port}${path}`);

  expect((await get('/livez')).status).toBe(200);
  const notReady = await get('/readyz');
  expect([notReady.status, await notReady.text()]).toEqual([503, 'draining\n']);
  reason = null;
  expect((await get('/readyz')).status).toBe(200);
  expect((await get('/nothing')).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${health.port}/livez`, { method: 'POST' })).status).toBe(405);

  const text = await (await get('/metrics')).text();
  expect(text).toContain('waggle_worker_active_jobs 3');
  expect(text).toContain('waggle_worker_budget 10');
  expect(text).toContain('waggle_worker_jobs_finished_total{task="echo",outcome="complete"} 1');
  expect(text).toContain('nodejs_eventloop_lag_seconds');
  expect(text).not.toContain('tenant=');
});
