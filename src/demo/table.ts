import { duration, quantity, waitFigures } from './figures.ts';
import type { Standing } from './followers.ts';
import type { Line } from './screen.ts';

export interface Row {
  tenant: string;
  weight: number;
  standing: Standing;
}

const HEADER = ['tenant', 'weight', 'waiting', 'running', 'done', 'wait p50', 'longest'];
const LEFT_ALIGNED = 1;

/** The state of each tenant as a table; `~` marks a count that was sampled. */
export function tenantTable(rows: readonly Row[]): Line[] {
  const cells = rows.map(({ tenant, weight, standing }) => {
    const count = (value: number): string => (standing.sampled ? '~' : '') + quantity(value);
    const waits = waitFigures(standing.times);
    return [
      tenant,
      String(weight),
      count(standing.waiting),
      count(standing.running),
      count(standing.done),
      duration(waits?.p50Ms),
      duration(waits?.maxMs),
    ];
  });
  const [header = '', ...lines] = alignColumns([HEADER, ...cells]);
  return [
    { text: header, style: 'bold' },
    ...lines.map((text, index): Line => ({ text, ...rowStyle(rows[index]) })),
  ];
}

function rowStyle(row: Row | undefined): Pick<Line, 'style'> {
  if (!row || row.standing.sampled) return {};
  return row.standing.waiting + row.standing.running === 0 ? { style: 'green' } : { style: 'yellow' };
}

/** Explains a line of {@link tenantSummary}. */
export const SUMMARY_LEGEND =
  'Each line: seconds, then per tenant waiting/running/done (p50 and longest wait so far).';

/** The same in one line, for logs. */
export function tenantSummary(rows: readonly Row[], elapsedMs: number): string {
  const parts = rows.map(({ tenant, standing }) => {
    if (standing.waiting + standing.running === 0) return `${tenant} done`;
    const waits = waitFigures(standing.times);
    const mark = standing.sampled ? '~' : '';
    const counts = `${mark}${standing.waiting}/${mark}${standing.running}/${mark}${standing.done}`;
    return `${tenant} ${counts} (${duration(waits?.p50Ms)}, ${duration(waits?.maxMs)})`;
  });
  return `${(elapsedMs / 1000).toFixed(1).padStart(5)} s  ${parts.join('  ')}`;
}

/** Pads cells to columns; the first column to the left, the others to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column < LEFT_ALIGNED ? cell.padEnd(width) : cell.padStart(width);
    });
    return `  ${cells.join('   ')}`;
  });
}
