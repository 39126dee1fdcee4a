/** What may stand between two pieces of HTML. Text is escaped; only {@link html} makes what is not. */
export type Content = Html | string | number | readonly Content[];

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** HTML that is safe to send. A class, as no value that was stored or sent by anybody can be one. */
export class Html {
  readonly #text: string;

  /** @param text HTML; whoever calls this vouches for it, so only {@link html} does */
  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

/** A template of HTML: every value in it is escaped, for text and for attributes in quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Html {
  return new Html(parts.map((part, place) => part + rendered(values[place] ?? '')).join(''));
}

function rendered(content: Content): string {
  if (content instanceof Html) return content.toString();
  if (typeof content === 'string') return escaped(content);
  if (typeof content === 'number') return String(content);
  return content.map(rendered).join('');
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}
