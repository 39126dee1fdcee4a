import { WaggleError } from '../../shared/errors.ts';

/**
 * The query string of `url` as a record of single values. A parameter given twice is refused: one reader would take the
 * first and another the last. The record has no prototype, so no name in it can mean anything else.
 */
export function readQuery(url: string): Record<string, string> {
  const values = Object.create(null) as Record<string, string>;
  const start = url.indexOf('?');
  if (start < 0) return values;
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (name in values) {
      throw new WaggleError(
        'validation',
        `The query parameter ${JSON.stringify(name)} is given more than once.`,
        {
          errors: [{ path: name, message: 'given more than once' }],
        },
      );
    }
    values[name] = value;
  }
  return values;
}
