import type { PayloadOf, Task } from '../../queues/tasks/define-task.ts';
import type { JobContext } from '../runtime/context.ts';

/** Runs one attempt of a job. What it returns is the job's result (JSON). */
export type Handler<T extends Task> = (ctx: JobContext<PayloadOf<T>>) => unknown;

/** A task together with the function that runs it; `run` takes a payload that the task's schema has accepted. */
export interface Registration {
  readonly task: Task;
  readonly run: (ctx: JobContext) => unknown;
}

export type HandlerRegistry = ReadonlyMap<string, Registration>;

/** Binds a handler to its task. A handler that expects another payload than the task's schema yields does not compile. */
export function handle<T extends Task>(task: T, handler: Handler<T>): Registration {
  return { task, run: (ctx) => handler(ctx as JobContext<PayloadOf<T>>) };
}

/** A registry by task name. Throws when two handlers share a task. */
export function createHandlerRegistry(registrations: readonly Registration[]): HandlerRegistry {
  const registry = new Map<string, Registration>();
  for (const registration of registrations) {
    const { name } = registration.task;
    if (registry.has(name)) throw new Error(`Two handlers are registered for task ${name}`);
    registry.set(name, registration);
  }
  return registry;
}
