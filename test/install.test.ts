import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface LockedPackage {
  version?: string;
  optionalDependencies?: Record<string, string>;
}

const read = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8');

test('npm ci downloads and compiles no Redis, whichever npm runs it and from wherever', () => {
  expect(read('.npmrc')).toMatch(/^ignore-scripts=true$/m);
  const manifest = JSON.parse(read('package.json')) as { redisMemoryServer?: object };
  expect(manifest.redisMemoryServer).toEqual({ disablePostinstall: '1' });
});

// A registry mirror that lacks the packages of other platforms makes npm write a lock file without them. npm 11 refuses
// such a file, and npm 10 installs nothing to run on those platforms.
test('the lock file has the native packages of every platform', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockedPackage> };
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !isLocked(packages, path, name)),
  );
  expect(missing).toEqual([]);
});

test('every dependency is pinned to one version', () => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
  for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies })) {
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  }
});

/** Whether `name` is found from `path`, looking where Node looks: in its own folder, then in each one above. */
function isLocked(packages: Record<string, LockedPackage>, path: string, name: string): boolean {
  const folder = `${path === '' ? '' : `${path}/`}node_modules/${name}`;
  if (packages[folder]?.version !== undefined) return true;
  return (
    path !== '' && isLocked(packages, path.slice(0, Math.max(0, path.lastIndexOf('/node_modules/'))), name)
  );
}
