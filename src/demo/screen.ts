export type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan';

export interface Line {
  text: string;
  style?: Style;
}

export interface ScreenOptions {
  write(text: string): void;
  /** Whether lines can be drawn over: a terminal, and no CI log. */
  live: boolean;
  colour: boolean;
  /** Width of the terminal; a longer line would wrap and spoil the redrawing. */
  columns(): number;
}

const CODES: Record<Style, number> = { bold: 1, dim: 2, green: 32, yellow: 33, red: 31, cyan: 36 };
const SUMMARY_EVERY_MS = 1000;

/** Writes lines that stay and, below them, one block that is drawn anew each time. */
export class Screen {
  readonly #options: ScreenOptions;
  #blockHeight = 0;
  #nextSummaryAt = 0;

  constructor(options: ScreenOptions) {
    this.#options = options;
  }

  /** Writes lines that stay. A live block above them is left as it is and not drawn again. */
  say(text: string, style?: Style): void {
    this.#blockHeight = 0;
    for (const line of text.split('\n'))
      this.#write(styled({ text: line, ...(style ? { style } : {}) }, this.#options));
  }

  /** Shows the present state: the block where it can be redrawn, otherwise `summary`, at most once a second. */
  show(block: readonly Line[], summary: () => string): void {
    if (this.#options.live) {
      this.#erase();
      const width = Math.max(20, this.#options.columns() - 1);
      for (const line of block)
        this.#write(styled({ ...line, text: line.text.slice(0, width) }, this.#options));
      this.#blockHeight = block.length;
    } else if (Date.now() >= this.#nextSummaryAt) {
      this.#write(summary());
      this.#nextSummaryAt = Date.now() + SUMMARY_EVERY_MS;
    }
  }

  /** Shows the last state of a block, which stays. */
  settle(block: readonly Line[]): void {
    this.#erase();
    for (const line of block) this.#write(styled(line, this.#options));
    this.#nextSummaryAt = 0;
  }

  #erase(): void {
    if (this.#blockHeight > 0) this.#options.write(`\x1b[${this.#blockHeight}A\x1b[J`);
    this.#blockHeight = 0;
  }

  #write(line: string): void {
    this.#options.write(`${line}\n`);
  }
}

function styled({ text, style }: Line, { colour }: ScreenOptions): string {
  return colour && style && text !== '' ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;
}
