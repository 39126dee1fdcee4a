import { cpSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformFile } from '@swc/core';
import type { Options } from '@swc/core';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = ['src', 'workers', 'queues', 'test/workers/fixtures'];

/** `rewriteRelativeImportExtensions` (`./x.ts` becomes `./x.js`) is missing in the types of swc. */
const OPTIONS = {
  swcrc: false,
  jsc: { parser: { syntax: 'typescript' }, target: 'es2023', rewriteRelativeImportExtensions: true },
  module: { type: 'es6' },
  sourceMaps: 'inline',
} as Options;

/**
 * Translates the code for the processes that tests start, once for all of them: each of them would spend more than a second on
 * it.
 * @returns the folder, in which it lies as it does in the project
 */
export async function compileSources(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'waggle-compiled-'));
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const files = SOURCES.flatMap((source) =>
    readdirSync(join(ROOT, source), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length)),
  );
  await Promise.all(files.map((file) => translate(file, folder)));
  return folder;
}

async function translate(file: string, folder: string): Promise<void> {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  if (extname(file) !== '.ts') return cpSync(join(ROOT, file), join(folder, file));
  const { code } = await transformFile(join(ROOT, file), OPTIONS);
  writeFileSync(join(folder, file.replace(/\.ts$/, '.js')), code);
}

/** How Node is to run an entry point of the project: the translated one, or itself where there is none. */
export function nodeArguments(entry: string): string[] {
  const { TEST_COMPILED: folder } = process.env;
  const isTranslated = folder !== undefined && SOURCES.some((source) => entry.startsWith(`${source}/`));
  if (!isTranslated) return ['--import', 'tsx', entry];
  return ['--enable-source-maps', join(folder, entry.replace(/\.ts$/, '.js'))];
}
