import { rmSync } from 'node:fs';
import './global-setup.ts';

export default async function globalTeardown(): Promise<void> {
  await globalThis.testRedis?.stop();
  if (globalThis.testRedisFolder) rmSync(globalThis.testRedisFolder, { recursive: true, force: true });
}
