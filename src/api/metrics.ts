import type { RequestHandler } from 'express';
import { Gauge, Histogram, Registry } from 'prom-client';
import type { Engine } from '../../queues/engine.ts';
import { measureConnections, measureProcess } from '../shared/process-metrics.ts';
import { queueMetrics } from './queue-metrics.ts';
import { requestRecord } from './request-record.ts';

/** The API's own metrics, with those of the process (event loop lag, memory, CPU), of its connections and of the queues. */
export interface ApiMetrics {
  /** Counts and times every request that passes. */
  observe: RequestHandler;
  /** The current values in the Prometheus text format. */
  expose(): Promise<{ type: string; content: string }>;
}

/** From a fast answer to a long poll of a minute. */
const DURATION_BUCKETS_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 60,
];

/** Each call makes a registry of its own, so several apps can live in one process. */
export function createApiMetrics({
  depths,
  connections,
}: Pick<Engine, 'depths' | 'connections'>): ApiMetrics {
  const registry = new Registry();
  measureProcess(registry);
  measureConnections(registry, connections);
  const durations = new Histogram({
    name: 'waggle_http_request_duration_seconds',
    help: 'Time from the request line to the end of the answer.',
    labelNames: ['route', 'method', 'status'],
    buckets: DURATION_BUCKETS_SECONDS,
    registers: [registry],
  });
  const inFlight = new Gauge({
    name: 'waggle_http_requests_in_flight',
    help: 'Requests that have not been answered yet.',
    registers: [registry],
  });
  const refreshQueues = queueMetrics(registry, depths);
  return {
    observe(req, res, next) {
      const record = requestRecord(res);
      inFlight.inc();
      // `close` comes once, after the last byte or when the caller went away before.
      res.once('close', () => {
        inFlight.dec();
        const seconds = (performance.now() - record.startedAt) / 1000;
        durations.observe({ route: record.route, method: req.method, status: res.statusCode }, seconds);
      });
      next();
    },
    async expose() {
      await refreshQueues();
      return { type: registry.contentType, content: await registry.metrics() };
    },
  };
}
