import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { measureConnections, measureProcess } from '../../src/shared/process-metrics.ts';
import type { Connections } from '../../src/shared/process-metrics.ts';

/** What the gauges read when they are scraped. */
export interface WorkerGauges {
  active: () => number;
  budget: () => number;
  slotRepairs: () => number;
  connections: Connections;
}

/** The metrics of one worker process. No label carries a tenant: there may be any number of them. */
export class WorkerMetrics {
  readonly registry = new Registry();
  /** Set once the worker runs; scraped before that, it runs nothing. */
  gauges: WorkerGauges = {
    active: () => 0,
    budget: () => 0,
    slotRepairs: () => 0,
    connections: () => ({}),
  };
  readonly finished: Counter<'task' | 'outcome'>;
  readonly runSeconds: Histogram<'task'>;
  readonly waitSeconds: Histogram<'queue'>;
  readonly claims: Counter<'result'>;
  readonly wakeUps: Counter<'by' | 'result'>;
  readonly overruns: Gauge;
  readonly stalled: Counter;
  readonly retired: Counter;

  /** @param ofProcess whether to measure the process itself as well: that costs a timer every 10 ms, idle or not */
  constructor({ ofProcess = true } = {}) {
    const now = (): WorkerGauges => this.gauges;
    const registers = [this.registry];
    if (ofProcess) measureProcess(this.registry);
    measureConnections(this.registry, () => now().connections());
    this.finished = new Counter({
      name: 'waggle_worker_jobs_finished_total',
      help: 'Attempts that ended, by task and outcome',
      labelNames: ['task', 'outcome'],
      registers,
    });
    this.runSeconds = new Histogram({
      name: 'waggle_worker_job_run_seconds',
      help: 'Time from claim to record of an attempt',
      labelNames: ['task'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800],
      registers,
    });
    this.waitSeconds = new Histogram({
      name: 'waggle_worker_job_wait_seconds',
      help: 'Time from when a job was due to its first start',
      labelNames: ['queue'],
      buckets: [0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200],
      registers,
    });
    this.claims = new Counter({
      name: 'waggle_worker_claims_total',
      help: 'Attempts to claim a job, by result: job, empty, error',
      labelNames: ['result'],
      registers,
    });
    this.wakeUps = new Counter({
      name: 'waggle_worker_wake_ups_total',
      help: 'Idle queues that were looked into again, by why (start, ring, due, poll) and result: job, empty (in vain), error',
      labelNames: ['by', 'result'],
      registers,
    });
    this.overruns = new Gauge({
      name: 'waggle_worker_overrunning_handlers',
      help: 'Handlers that were aborted and have not stopped; each still holds a slot',
      registers,
    });
    this.stalled = new Counter({
      name: 'waggle_worker_jobs_recovered_total',
      help: 'Jobs whose worker was lost and that this worker put back',
      registers,
    });
    this.retired = new Counter({
      name: 'waggle_worker_jobs_retired_total',
      help: 'Finished jobs removed when their retention was over',
      registers,
    });
    new Gauge({
      name: 'waggle_worker_active_jobs',
      help: 'Jobs this process runs now',
      registers,
      collect() {
        this.set(now().active());
      },
    });
    new Counter({
      name: 'waggle_worker_slots_repaired_total',
      help: "Slots of limited tenants that did not fit the jobs that run; anything but 0 is somebody's defect",
      registers,
      collect() {
        this.reset();
        this.inc(now().slotRepairs());
      },
    });
    new Gauge({
      name: 'waggle_worker_budget',
      help: 'Jobs this process may run at once',
      registers,
      collect() {
        this.set(now().budget());
      },
    });
  }
}
