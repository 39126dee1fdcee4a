/** What Waggle's API is measured against: an Express handler that parses, validates and adds to a queue of stock BullMQ. */
import { Queue } from 'bullmq';
import express from 'express';
import { z } from 'zod';
import { connectionTo } from './workload.ts';

const Request = z.strictObject({ task: z.string().min(1).max(128), payload: z.unknown() });

const { REDIS_URL = '', PORT = '0' } = process.env;
const queue = new Queue('default', { connection: connectionTo(Number(new URL(REDIS_URL).port)) });
const app = express();
app.use(express.json({ limit: '1mb' }));
app.get('/readyz', (_req, res) => void res.send('ok'));
app.post('/v1/jobs', async (req, res) => {
  const { task, payload } = Request.parse(req.body);
  const job = await queue.add(task, payload);
  res.status(202).json({ id: job.id, task, payload });
});
const server = app.listen(Number(PORT), '127.0.0.1');
process.once('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  void queue.close();
});
