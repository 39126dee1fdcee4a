/** Bytes that stand in JSON as they are, though no serialiser would write them. */
export class Verbatim {
  readonly bytes: Buffer;

  constructor(text: string | number[] | Buffer) {
    this.bytes = Buffer.from(text as string);
  }
}

/** An object whose names may repeat. */
export class Fields {
  readonly entries: readonly (readonly [string, unknown])[];

  constructor(entries: readonly (readonly [string, unknown])[]) {
    this.entries = entries;
  }
}

/** A value as bytes of JSON, or of what its {@link Verbatim} parts make of it. */
export function jsonBytes(value: unknown): Buffer {
  if (value instanceof Verbatim) return value.bytes;
  if (Array.isArray(value)) return listed('[', value.map(jsonBytes), ']');
  const entries = entriesOf(value);
  if (entries === undefined) return Buffer.from(JSON.stringify(value) ?? 'null');
  const members = entries.map(([name, member]) =>
    Buffer.concat([Buffer.from(`${JSON.stringify(name)}:`), jsonBytes(member)]),
  );
  return listed('{', members, '}');
}

/** The fields of an object, in order; undefined for what is none. */
export function entriesOf(value: unknown): readonly (readonly [string, unknown])[] | undefined {
  if (value instanceof Fields) return value.entries;
  if (value instanceof Verbatim || Array.isArray(value)) return undefined;
  return typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
}

function listed(open: string, items: Buffer[], close: string): Buffer {
  const comma = Buffer.from(',');
  const parts = items.flatMap((item, place) => (place === 0 ? [item] : [comma, item]));
  return Buffer.concat([Buffer.from(open), ...parts, Buffer.from(close)]);
}
