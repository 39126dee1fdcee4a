import { parseArgs } from 'node:util';

/** One option of a benchmark's command line: `--<name> <text>`, or a bare `--<name>` for a flag. */
export interface Option<T> {
  readonly description: string;
  readonly fallback: string;
  /** @throws Error when the text is no such value */
  parse(text: string): T;
}

export const count = (fallback: number, description: string, least = 1): Option<number> => ({
  description,
  fallback: String(fallback),
  parse: (text) => parseCount(text, least),
});

export const counts = (fallback: number[], description: string): Option<number[]> => ({
  description: `${description}; several with commas`,
  fallback: fallback.join(','),
  parse: (text) => text.split(',').map((each) => parseCount(each, 1)),
});

export const choices = <T extends string>(
  all: readonly T[],
  fallback: readonly T[],
  description: string,
): Option<T[]> => ({
  description: `${description}: ${all.join(', ')}; several with commas`,
  fallback: fallback.join(','),
  parse: (text) => text.split(',').map((word) => parseChoice(all, word)),
});

export const flag = (description: string): Option<boolean> => ({
  description,
  fallback: '',
  parse: (text) => text === 'true',
});

type Options = Record<string, Option<unknown>>;
type Values<O extends Options> = { [K in keyof O]: O[K] extends Option<infer T> ? T : never };

/**
 * Reads a program's options from its command line; `--help` prints them and ends the process.
 * A wrong option ends it with a message and exit code 2.
 */
export function readOptions<O extends Options>(program: string, options: O): Values<O> {
  try {
    const given = parseArgs({
      options: Object.fromEntries([
        ...Object.entries(options).map(([name, option]) => [
          name,
          { type: isFlag(option) ? 'boolean' : 'string' },
        ]),
        ['help', { type: 'boolean' }],
      ]) as Record<string, { type: 'boolean' | 'string' }>,
    }).values;
    if (given.help) {
      console.log(usage(program, options));
      process.exit(0);
    }
    return Object.fromEntries(
      Object.entries(options).map(([name, option]) => [name, valueOf(name, option, given[name]?.toString())]),
    ) as Values<O>;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage(program, options)}`);
    process.exit(2);
  }
}

function valueOf(name: string, option: Option<unknown>, given: string | undefined): unknown {
  try {
    return option.parse(given ?? option.fallback);
  } catch (error) {
    throw new Error(`--${name}: ${(error as Error).message}`, { cause: error });
  }
}

function usage(program: string, options: Options): string {
  const lines = Object.entries(options).map(([name, option]) => {
    const fallback = isFlag(option) ? '' : ` (default ${option.fallback})`;
    return `  --${name.padEnd(12)} ${option.description}${fallback}`;
  });
  return [`node --import tsx bench/${program}.ts [options]`, ...lines].join('\n');
}

const isFlag = (option: Option<unknown>): boolean => option.fallback === '';

function parseCount(text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`expected a whole number from ${least}, not "${text}"`);
  return value;
}

function parseChoice<T extends string>(all: readonly T[], word: string): T {
  const found = all.find((choice) => choice === word);
  if (found === undefined) throw new Error(`expected one of ${all.join(', ')}, not "${word}"`);
  return found;
}
