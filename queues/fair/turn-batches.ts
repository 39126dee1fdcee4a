/** Items per batch. More would save little, and let the server wait while this process still works. */
export const AT_ONCE = 16;
/** Characters per batch, or what one item has. */
const CHARACTERS_AT_ONCE = 65_536;

/** Whether a batch of so many items, together so many characters long, should go. */
export const isFull = (items: number, characters: number, most = AT_ONCE): boolean =>
  items >= most || characters >= CHARACTERS_AT_ONCE;

interface Waiting<Item, Reply> {
  readonly item: Item;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Brings together what is asked for in one turn of the event loop, and asks for it in batches. Nothing waits longer than
 * that turn: on a quiet process each batch has one item, on a busy one they fill by themselves.
 *
 * A turn ends with what one event led to (`process.nextTick`), or, where each item comes by an event of its own, with all
 * events that were there to be handled (`setImmediate`).
 */
export class TurnBatches<Item, Reply> {
  /** Items per batch from now on. */
  most = AT_ONCE;
  readonly #send: (items: Item[]) => Promise<Reply[]>;
  readonly #atEnd: (flush: () => void) => unknown;
  #waiting: Waiting<Item, Reply>[] = [];
  #characters = 0;

  /**
   * @param send resolves with one reply for each item, in their order
   * @param atEnd calls back when the turn ends
   */
  constructor(
    send: (items: Item[]) => Promise<Reply[]>,
    atEnd: (flush: () => void) => unknown = (flush): void => process.nextTick(flush),
  ) {
    this.#send = send;
    this.#atEnd = atEnd;
  }

  /** @param characters about how long the item is; a batch ends when it has many of them */
  add(item: Item, characters: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) this.#atEnd(() => this.flush());
      this.#waiting.push({ item, resolve, reject });
      this.#characters += characters;
      if (isFull(this.#waiting.length, this.#characters, this.most)) this.flush();
    });
  }

  /** For what must not overtake the items that wait. */
  flush(): void {
    const batch = this.#waiting;
    if (batch.length === 0) return;
    this.#waiting = [];
    this.#characters = 0;
    this.#send(batch.map(({ item }) => item)).then(
      (replies) => {
        for (const [index, { resolve }] of batch.entries()) resolve(replies[index] as Reply);
      },
      (error: unknown) => {
        for (const { reject } of batch) reject(error);
      },
    );
  }
}
