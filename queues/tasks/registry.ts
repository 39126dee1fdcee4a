import type { Task } from './define-task.ts';
import { bulk } from './bulk.ts';
import { echo } from './echo.ts';
import { fail } from './fail.ts';
import { httpRequest } from './http-request.ts';
import { sleep } from './sleep.ts';

export type TaskRegistry = ReadonlyMap<string, Task>;

/** A registry of these tasks by name. Throws when two share one. */
export function createTaskRegistry(tasks: readonly Task[]): TaskRegistry {
  const registry = new Map<string, Task>();
  for (const task of tasks) {
    if (registry.has(task.name)) throw new Error(`Two tasks are named ${task.name}`);
    registry.set(task.name, task);
  }
  return registry;
}

/** The tasks every Waggle has. */
export const taskRegistry: TaskRegistry = createTaskRegistry([echo, sleep, fail, httpRequest, bulk]);
