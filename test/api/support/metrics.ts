import { expect } from '@jest/globals';

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gy;

/**
 * Every sample of a scrape in the Prometheus text format. What is Waggle's is held to the rules for names: a type and a
 * help for each, counters and only they end in `_total`, times are in seconds, and no label is a tenant.
 */
export function parseMetrics(text: string): Sample[] {
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (TYPE|HELP) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === 'TYPE') types.set(name, rest);
    else if (kind === 'HELP') helps.add(name);
    else if (line !== '') samples.push(parseLine(line));
  }
  for (const [name, type] of types) {
    if (!name.startsWith('waggle_')) continue;
    expect([name, helps.has(name)]).toEqual([name, true]);
    expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    if (type === 'histogram') expect(name).toMatch(/_seconds$/);
    expect(name).not.toMatch(/_(ms|milliseconds|minutes)\b/);
  }
  for (const { name, labels } of samples) {
    const family = name.replace(/_(bucket|sum|count)$/, '');
    expect([name, types.has(name) || types.has(family)]).toEqual([name, true]);
    expect(Object.keys(labels)).not.toContain('tenant');
  }
  return samples;
}

/** The sum of the samples of a name that have these labels; undefined when there is none. */
export function valueOf(
  samples: readonly Sample[],
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const found = samples.filter(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
  );
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
}

function parseLine(line: string): Sample {
  const [, name = '', labels = '', value = ''] = LINE.exec(line) ?? [];
  const number = Number(value.replace('Inf', 'Infinity'));
  // A mean of nothing is no number, in any spelling.
  if (name === '' || (Number.isNaN(number) && !/^nan$/i.test(value)))
    throw new Error(`not a sample: ${line}`);
  const pairs = [...labels.matchAll(LABEL)];
  if (pairs.map(([pair]) => pair).join('') !== labels) throw new Error(`not labels: ${line}`);
  return {
    name,
    labels: Object.fromEntries(pairs.map(([, key = '', text = '']) => [key, text])),
    value: number,
  };
}
