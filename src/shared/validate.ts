import type { z } from 'zod';
import { WaggleError } from './errors.ts';
import type { ErrorCode, FieldError } from './errors.ts';
import { defaultLimits } from './limits.ts';

/** Fields of the contract that this version knows by name and does not serve yet. */
const NOT_YET: ReadonlySet<string> = new Set(['graph', 'chain', 'group', 'chord', 'onFailure']);

/**
 * The value as `schema` sees it.
 * @throws WaggleError `validation` (or `code`) that names every field at fault.
 */
export function parse<T extends z.ZodType>(
  schema: T,
  value: unknown,
  options: { code?: ErrorCode; root?: string; jsonDepth?: number } = {},
): z.output<T> {
  const { code = 'validation', root = '' } = options;
  assertDepth(value, code, root, options.jsonDepth ?? defaultLimits.jsonDepth);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(code, fieldErrors(parsed.error, root));
}

/** A `validation` (or `code`) error whose detail reads well on its own. */
export function invalid(code: ErrorCode, errors: FieldError[]): WaggleError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  const detail =
    first === undefined ? 'The input is not valid.' : `${first.path || 'input'}: ${first.message}${more}`;
  return new WaggleError(code, detail, { errors });
}

/** Every issue as a path and a message; one entry per unknown field. */
export function fieldErrors(error: z.core.$ZodError, root = ''): FieldError[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        path: joinPath(root, [...issue.path, key]),
        message: unknownField(key),
      }));
    }
    return [{ path: joinPath(root, issue.path), message: issue.message }];
  });
}

function unknownField(key: string): string {
  return NOT_YET.has(key) ? 'is not available yet' : 'is not a known field';
}

function joinPath(root: string, path: readonly PropertyKey[]): string {
  const parts = path.map((part) => String(part).slice(0, 128));
  return (root === '' ? parts : [root, ...parts]).join('.');
}

function assertDepth(value: unknown, code: ErrorCode, root: string, limit: number): void {
  if (!isDeeperThan(value, limit)) return;
  throw invalid(code, [{ path: root, message: `is nested more than ${limit} levels deep` }]);
}

/** Walks level by level without recursion: the input it guards against would overflow a recursive walk. */
function isDeeperThan(value: unknown, limit: number): boolean {
  let level: object[] = isNested(value) ? [value] : [];
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > limit) return true;
    level = level.flatMap((node) => (Object.values(node) as unknown[]).filter(isNested));
  }
  return false;
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
