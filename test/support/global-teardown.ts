import { rmSync } from 'node:fs';
import './global-setup.ts';

export default async function globalTeardown(): Promise<void> {
  await globalThis.testRedis?.stop();
  const { TEST_COMPILED: folder } = process.env;
  if (folder) rmSync(folder, { recursive: true, force: true });
  if (globalThis.testRedisFolder) rmSync(globalThis.testRedisFolder, { recursive: true, force: true });
}
