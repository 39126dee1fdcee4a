import { z } from 'zod';
import { defineTask } from './define-task.ts';

/** Returns its payload. */
export const echo = defineTask({ name: 'echo', payload: z.unknown() });
