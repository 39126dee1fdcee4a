/** Compiles src/, workers/ and queues/ into dist/ and puts the files that are read at run time beside the code. */
import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = ['src', 'workers', 'queues'];
const NOT_BUILT = join('src', 'demo');
/** Everything that is not code and yet needed by it; notes stay behind. */
const ASSETS = new Set(['.lua', '.html', '.css', '.js', '.svg', '.json']);

rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' });

for (const source of SOURCES) {
  for (const entry of readdirSync(join(ROOT, source), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(ROOT.length);
    if (!entry.isFile() || !ASSETS.has(extname(path)) || path.startsWith(NOT_BUILT)) continue;
    cpSync(join(ROOT, path), join(ROOT, 'dist', path));
  }
}
