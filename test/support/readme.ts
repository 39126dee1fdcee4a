/** A block of the README that calls the API, and what it is said to print. */
export interface ReadmeExample {
  /** The headings it stands under. */
  chapter: string;
  /** The line of its first command. */
  line: number;
  script: string;
  expected: { language: string; text: string } | undefined;
}

interface Block {
  language: string;
  text: string;
  chapter: string;
  /** Lines of its fences, from 1 on. */
  first: number;
  last: number;
}

/** Every `sh` block with a call of curl, in order; a block of `json` or `text` right after it is what it prints. */
export function readmeExamples(markdown: string): ReadmeExample[] {
  const blocks = blocksOf(markdown);
  return blocks.flatMap(({ language, text, chapter, first, last }, place) => {
    if (language !== 'sh' || !/\bcurl\b/.test(text)) return [];
    const next = blocks[place + 1];
    const isOutput = next?.first === last + 1 && ['json', 'text'].includes(next.language);
    return [{ chapter, line: first + 1, script: text, expected: isOutput ? next : undefined }];
  });
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let chapter = '';
  let open: Block | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```(\w*)$/.exec(line);
    if (fence !== null && open === undefined) {
      open = { language: fence[1] ?? '', text: '', chapter, first: index + 1, last: 0 };
    } else if (fence !== null && open !== undefined) {
      blocks.push({ ...open, last: index + 1 });
      open = undefined;
    } else if (open !== undefined) open.text += `${line}\n`;
    else if (line.startsWith('#')) chapter = line.replace(/^#+\s*/, '');
  }
  return blocks;
}

/**
 * What of `expected` is not in `actual`, as one line a fault. Objects may have more members than are expected, lists and
 * all else are compared whole; `…` in a text stands for anything.
 */
export function missing(expected: unknown, actual: unknown, at = ''): string[] {
  if (typeof expected === 'string' && typeof actual === 'string') {
    return like(expected).test(actual)
      ? []
      : [`${at}: ${JSON.stringify(actual)} is not ${JSON.stringify(expected)}`];
  }
  if (Array.isArray(expected) && Array.isArray(actual) && expected.length === actual.length) {
    return expected.flatMap((item, place) => missing(item, actual[place], `${at}[${place}]`));
  }
  if (isRecord(expected) && isRecord(actual)) {
    return Object.entries(expected).flatMap(([name, item]) => missing(item, actual[name], `${at}.${name}`));
  }
  if (Object.is(expected, actual)) return [];
  return [`${at}: ${JSON.stringify(actual)} is not ${JSON.stringify(expected)}`];
}

/** A text in which `…` stands for anything. */
export function like(text: string): RegExp {
  const parts = text.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}$`, 's');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
