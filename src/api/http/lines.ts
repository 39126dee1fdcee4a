const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A line's bytes without its end; null for one that is longer than a line may be. */
export type Line = Buffer | null;

/**
 * Cuts a stream of bytes into lines that end with LF or CRLF, wherever its chunks end. Lines of nothing but white space are
 * left out. It holds no more than one line of `limitBytes`; what is longer is read away and reported once.
 */
export class LineSplitter {
  readonly #limitBytes: number;
  #parts: Buffer[] = [];
  #length = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** The lines that end in a chunk. */
  push(chunk: Buffer): Line[] {
    const lines: Line[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#hold(chunk.subarray(from, end));
      lines.push(...this.end());
      from = end + 1;
    }
    this.#hold(chunk.subarray(from));
    return lines;
  }

  /** The line that has begun: the last one of a stream may lack its end. */
  end(): Line[] {
    const [parts, length] = [this.#parts, this.#length];
    [this.#parts, this.#length] = [[], 0];
    if (length === 0) return [];
    if (length > this.#limitBytes + 1) return [null];
    const line = withoutReturn(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, length));
    if (line.length > this.#limitBytes) return [null];
    return isBlank(line) ? [] : [line];
  }

  #hold(part: Buffer): void {
    if (part.length === 0) return;
    this.#length += part.length;
    // One byte more than a line may have could be its CR.
    if (this.#length <= this.#limitBytes + 1) this.#parts.push(part);
    else this.#parts = [];
  }
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
}

/** Whether there is nothing but space, tab and CR: JSON takes them for nothing, too. */
function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === CARRIAGE_RETURN);
}
