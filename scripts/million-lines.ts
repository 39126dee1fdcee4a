/**
 * Sends a million jobs as lines through an API process with a heap of 256 MB, and looks at what it takes. For a night:
 * needs some 2 GB for Redis. Usage: npm run nightly:lines [-- lines]. Exit code 1 when a line is lost or the process grows.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { startEmbeddedRedis } from '../src/demo/embedded-redis.ts';

const HEAP_MB = 256;
/** Everything a process of Node has besides its heap. */
const BESIDES_MB = 200;
const TOKEN = 'admin-token-of-the-night';
const LINES_PER_WRITE = 200;

const lines = Number(process.argv[2] ?? 1_000_000);

function line(number: number): string {
  return `${JSON.stringify({ task: 'echo', payload: { number, text: 'x'.repeat(60) } })}\n`;
}

async function startApi(redisUrl: string): Promise<{ pid: number; port: number; stop: () => void }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts'], {
    env: {
      ...process.env,
      REDIS_URL: redisUrl,
      PORT: '0',
      WAGGLE_ADMIN_TOKEN: TOKEN,
      NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const logged of createInterface({ input: child.stdout })) {
    const { msg, port } = JSON.parse(logged) as { msg: string; port: number };
    if (msg === 'listening') {
      child.stdout.resume();
      return { pid: child.pid ?? 0, port, stop: () => child.kill() };
    }
  }
  throw new Error('the API did not start');
}

/** The most memory that a process had in RAM, in MB. */
function peakMb(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** @returns how many lines were answered with an id, in order */
async function sendAll(port: number): Promise<number> {
  const outgoing = request({
    port,
    method: 'POST',
    path: '/v1/jobs/batch',
    headers: {
      Authorization: `Bearer ${TOKEN}`,
      'X-Tenant-Id': 'night',
      'Content-Type': 'application/x-ndjson',
    },
  });
  outgoing.flushHeaders();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const counting = (async () => {
    let stored = 0;
    for await (const text of createInterface({ input: response })) {
      const { index, id } = JSON.parse(text) as { index: number; id?: string };
      if (id !== undefined && index === stored) stored += 1;
    }
    return stored;
  })();
  for (let sent = 0; sent < lines; sent += LINES_PER_WRITE) {
    const piece = Array.from({ length: Math.min(LINES_PER_WRITE, lines - sent) }, (_, n) => line(sent + n));
    if (!outgoing.write(piece.join(''))) await once(outgoing, 'drain');
  }
  outgoing.end();
  return counting;
}

const redis = await startEmbeddedRedis();
const api = await startApi(redis.url);
try {
  const startedAt = performance.now();
  const stored = await sendAll(api.port);
  const seconds = (performance.now() - startedAt) / 1000;
  const peak = peakMb(api.pid);
  const rate = Math.round(stored / seconds);
  process.stdout.write(`${stored} of ${lines} stored, ${rate} a second; peak ${Math.round(peak)} MB\n`);
  if (stored !== lines || peak > HEAP_MB + BESIDES_MB) process.exitCode = 1;
} finally {
  api.stop();
  await redis.stop();
}
