import { MessageChannel } from 'node:worker_threads';
import { expect, test } from '@jest/globals';
import { isFull, TurnBatches } from '../../../queues/fair/turn-batches.ts';

/** What was sent, batch by batch, and how each is answered. */
class Server {
  readonly sent: string[][] = [];
  readonly #answers: { resolve: (replies: string[]) => void; reject: (error: Error) => void }[] = [];
  readonly batches: TurnBatches<string, string>;

  constructor(atEnd?: (flush: () => void) => unknown) {
    this.batches = new TurnBatches(
      (items: string[]): Promise<string[]> =>
        new Promise((resolve, reject) => {
          this.sent.push(items);
          this.#answers.push({ resolve, reject });
        }),
      atEnd,
    );
  }

  ask(items: readonly string[], characters = 1): Promise<string>[] {
    return items.map((item) => this.batches.add(item, characters));
  }

  /** Answers a batch with what was asked, in capitals. */
  answer(nth: number): void {
    this.#answers[nth]?.resolve((this.sent[nth] ?? []).map((item) => item.toUpperCase()));
  }

  fail(nth: number): void {
    this.#answers[nth]?.reject(new Error(`batch ${nth}`));
  }

  get sizes(): number[] {
    return this.sent.map((batch) => batch.length);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const named = (count: number): string[] => Array.from({ length: count }, (_, n) => `item ${n}`);

test('a batch goes with its sixteenth item, the rest at the end of the turn, all in their order', async () => {
  const server = new Server();
  void server.ask(named(15));
  expect(server.sizes).toEqual([]);
  void server.ask(['item 15']);
  expect(server.sizes).toEqual([16]);
  void server.ask(named(40).slice(16));
  expect(server.sizes).toEqual([16, 16]);
  await turn();
  expect(server.sizes).toEqual([16, 16, 8]);
  expect(server.sent.flat()).toEqual(named(40));
});

test('what is asked for in the promises of one turn goes together', async () => {
  const server = new Server();
  const askLater = async (item: string, hops: number): Promise<void> => {
    for (let i = 0; i < hops; i += 1) await Promise.resolve();
    void server.ask([item]);
  };
  await Promise.all(named(5).map((item, n) => askLater(item, n)));
  await turn();
  expect(server.sent).toEqual([named(5)]);
});

test('a batch goes with the item that makes it 64K characters long', async () => {
  const server = new Server();
  void server.ask(['half'], 32_768);
  void server.ask(['less'], 32_767);
  expect(server.sent).toEqual([]);
  void server.ask(['last'], 1);
  expect(server.sent).toEqual([['half', 'less', 'last']]);
  void server.ask(['new'], 65_535);
  expect(server.sizes).toEqual([3]);
  void server.ask(['huge'], 1_000_000);
  expect(server.sent.slice(1)).toEqual([['new', 'huge']]);
  void server.ask(['alone'], 65_536);
  expect(server.sent.slice(2)).toEqual([['alone']]);
  await turn();
  expect(server.sizes).toEqual([3, 2, 1]);
});

test('a quiet process sends one by one, at the end of each turn', async () => {
  const server = new Server();
  for (const item of named(20)) {
    void server.ask([item]);
    expect(server.sent).not.toContainEqual([item]);
    await turn();
    expect(server.sent).toContainEqual([item]);
  }
  expect(server.sizes).toEqual(named(20).map(() => 1));
});

test('each gets its own reply, whichever batch is answered first', async () => {
  const server = new Server();
  const replies = server.ask(named(20));
  await turn();
  const order: string[] = [];
  for (const reply of replies) void reply.then((text) => order.push(text));
  server.answer(1);
  await turn();
  server.answer(0);
  const expected = named(20).map((item) => item.toUpperCase());
  expect(await Promise.all(replies)).toEqual(expected);
  expect(order).toEqual([...expected.slice(16), ...expected.slice(0, 16)]);
});

test('a batch that fails fails for all of its items and for no others', async () => {
  const server = new Server();
  const replies = server.ask(named(18));
  await turn();
  server.fail(0);
  server.answer(1);
  const outcomes = await Promise.allSettled(replies);
  expect(outcomes.slice(0, 16).map((each) => each.status === 'rejected' && String(each.reason))).toEqual(
    named(16).map(() => 'Error: batch 0'),
  );
  expect(outcomes.slice(16)).toEqual([
    { status: 'fulfilled', value: 'ITEM 16' },
    { status: 'fulfilled', value: 'ITEM 17' },
  ]);
  const [next] = server.ask(['next']);
  await turn();
  server.answer(2);
  expect(await next).toBe('NEXT');
});

test('a flush sends what waits at once, and nothing when nothing waits', async () => {
  const server = new Server();
  server.batches.flush();
  void server.ask(named(3));
  server.batches.flush();
  expect(server.sizes).toEqual([3]);
  server.batches.flush();
  void server.ask(['after']);
  expect(server.sizes).toEqual([3]);
  await turn();
  expect(server.sizes).toEqual([3, 1]);
});

test('what a flush has sent counts no more for the next batch', async () => {
  const server = new Server();
  void server.ask(named(10), 6000);
  server.batches.flush();
  void server.ask(named(10), 6000);
  expect(server.sizes).toEqual([10]);
  await turn();
  expect(server.sizes).toEqual([10, 10]);
});

test('a batch goes with as many items as it may have by then', async () => {
  const server = new Server();
  server.batches.most = 2;
  void server.ask(named(5));
  server.batches.most = 16;
  void server.ask(named(1));
  expect(server.sizes).toEqual([2, 2]);
  await turn();
  expect(server.sizes).toEqual([2, 2, 2]);
});

test('what different events ask for goes together where a turn is all of them', async () => {
  const server = new Server(setImmediate);
  const { port1, port2 } = new MessageChannel();
  const done = new Promise<void>((resolve) => {
    let asked = 0;
    port2.on('message', (item: string) => {
      void server.ask([item]);
      // Each message is an event of its own.
      process.nextTick(() => {
        asked += 1;
        if (asked === 3) resolve();
      });
    });
  });
  for (const item of named(3)) port1.postMessage(item);
  await done;
  expect(server.sizes).toEqual([]);
  await turn();
  expect(server.sizes).toEqual([3]);
  port1.close();
});

test.each([
  [0, 0, false],
  [15, 65_535, false],
  [16, 0, true],
  [1, 65_536, true],
])('%i items of %i characters are full: %s', (items, characters, full) => {
  expect(isFull(items, characters)).toBe(full);
});
