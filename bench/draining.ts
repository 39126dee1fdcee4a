import { BenchProcess } from './child-process.ts';
import type { AddResult } from './producer-process.ts';
import type { WorkerConfig, WorkerReport } from './worker-process.ts';
import { monotonicMs } from './workload.ts';

/** A drain without any completion for this long is given up. */
const STUCK_MS = 30_000;

type CountReport = Extract<WorkerReport, { completed: number }>;

/** Worker processes that empty a queue; they report what they completed, nothing polls Redis. */
export class Drain {
  readonly #workers: BenchProcess[];
  readonly #latest: CountReport[];
  #movedAt = 0;

  constructor(processes: number, config: WorkerConfig) {
    this.#latest = Array.from({ length: processes }, () => ({ completed: 0, lastCompletedAt: 0, cpuMs: 0 }));
    this.#workers = this.#latest.map(
      (_, index) =>
        new BenchProcess('./worker-process.ts', config, (news) => this.#note(index, news as CountReport)),
    );
  }

  /** Warms and connects the workers; nothing of the queue is touched yet. */
  async prepare(): Promise<void> {
    await this.callAll('prepare');
  }

  /** The same call to every worker process; their answers in order. */
  callAll<T>(name: string): Promise<T[]> {
    return Promise.all(this.#workers.map((worker) => worker.call<T>(name)));
  }

  /**
   * Releases all workers together and waits until they have completed `jobs`.
   * @param least whether there are more jobs than that, so that some more may be completed meanwhile
   * @throws Error when a worker fails, nothing moves for STUCK_MS, or more jobs are completed than there are
   */
  async run(jobs: number, least = false): Promise<AddResult> {
    const releasedAt = monotonicMs();
    for (const worker of this.#workers) void worker.call('release').catch(() => undefined);
    this.#movedAt = releasedAt;
    for (;;) {
      const completed = this.#sum('completed');
      if (completed > jobs && !least) throw new Error(`${completed} jobs completed of ${jobs}`);
      if (completed >= jobs) break;
      if (monotonicMs() - this.#movedAt > STUCK_MS)
        throw new Error(`stuck after ${completed} of ${jobs} jobs`);
      for (const worker of this.#workers) worker.check();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const lastCompletedAt = Math.max(...this.#latest.map((report) => report.lastCompletedAt));
    return { elapsedMs: lastCompletedAt - releasedAt, cpuMs: this.#sum('cpuMs') };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()));
  }

  #note(process: number, news: CountReport): void {
    this.#latest[process] = news;
    this.#movedAt = monotonicMs();
  }

  #sum(field: keyof CountReport): number {
    return this.#latest.reduce((sum, report) => sum + report[field], 0);
  }
}
