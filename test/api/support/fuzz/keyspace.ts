import { readFileSync } from 'node:fs';

const ARCHITECTURE = new URL('../../../../ARCHITECTURE.md', import.meta.url);
const JOB = '[a-z][a-z0-9._-]{0,62}\\.[0-9A-HJKMNP-TV-Z]{26}';

/** What may stand for the placeholders of the key table. */
const PLACEHOLDERS: Record<string, string> = {
  '<n>': '(?<shard>\\d+)',
  '<queue>': '[a-z][a-z0-9._-]{0,62}',
  '<tenant>': '(?<tenant>[a-z0-9][a-z0-9_-]{0,62}|\\*)',
  '<task>': '[a-z][a-z0-9._-]{0,127}',
  '<job>': JOB,
  '<hash>': '[A-Za-z0-9_-]{16,64}',
  '<id>': '[A-Za-z0-9_-]{8,64}',
  '<process>': '[A-Za-z0-9._-]{8,64}',
  // Of a serialisation key, which may be any text.
  '…': '[^]+',
};

/** BullMQ's own keys, as its documentation names them. */
const BULLMQ = [
  ...[
    'meta',
    'id',
    'events',
    'delayed',
    'active',
    'completed',
    'failed',
    'stalled',
    'stalled-check',
    'marker',
  ],
  ...['waiting-children', 'pc', 'limiter', 'de:<tenant>:<hash>', '<job>'],
  ...['lock', 'logs', 'dependencies', 'processed', 'failed', 'unsuccessful'].map((part) => `<job>:${part}`),
].map((suffix) => `{wg:<n>}:<queue>:${suffix}`);

export interface KnownKey {
  shard: number | undefined;
  tenant: string | undefined;
}

/** Tells what a key is by the table of ARCHITECTURE.md; null for one that stands nowhere. */
export function documentedKeys(): (key: string) => KnownKey | null {
  const patterns = [...tableOfKeys(), ...BULLMQ].map(regExpOf);
  return (key) => {
    for (const pattern of patterns) {
      const found = pattern.exec(key);
      if (found === null) continue;
      const { shard, tenant } = found.groups ?? {};
      return { shard: shard === undefined ? undefined : Number(shard), tenant };
    }
    return null;
  };
}

function tableOfKeys(): string[] {
  const [, section = ''] = readFileSync(ARCHITECTURE, 'utf8').split('\n## Keys\n');
  const rows =
    section
      .split('\n## ')[0]
      ?.split('\n')
      .filter((line) => line.startsWith('| `')) ?? [];
  return rows.flatMap((row) => {
    const [first = '', ...others] = [...(row.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(
      ([, key]) => key ?? '',
    );
    // `{wg:n}:<queue>:fair:aj`, `at`: a short one stands for what differs behind the prefix.
    const prefix = /^.*fair:/.exec(first)?.[0] ?? '';
    return [first, ...others.map((key) => (/^\{?wg:/.test(key) ? key : `${prefix}${key}`))];
  });
}

function regExpOf(key: string): RegExp {
  const source = key
    .replace('{wg:n}', '{wg:<n>}')
    .split(/(<\w+>|…)/)
    .map((part) => PLACEHOLDERS[part] ?? escaped(part));
  return new RegExp(`^${source.join('')}$`);
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
