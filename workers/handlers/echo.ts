import { echo } from '../../queues/tasks/echo.ts';
import { handle } from './registry.ts';

export const echoHandler = handle(echo, (ctx) => ctx.job.payload);
