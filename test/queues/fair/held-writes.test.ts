import { expect, test } from '@jest/globals';
import { Duplex } from 'node:stream';
import { holdWrites } from '../../../queues/fair/held-writes.ts';

/** Notes what reaches the other side in one go. */
class Socket extends Duplex {
  readonly gone: string[][] = [];

  override _read(): void {
    // Nobody answers.
  }

  override _writev(chunks: { chunk: unknown }[], done: () => void): void {
    this.gone.push(chunks.map(({ chunk }) => String(chunk)));
    done();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

function send(socket: Socket, names: readonly string[]): void {
  for (const name of names) {
    holdWrites(socket);
    socket.write(name);
  }
}

const names = Array.from({ length: 40 }, (_, n) => `command ${n}`);

test('what is written in one turn leaves in a few writes, in order, the last when the turn ends', async () => {
  const socket = new Socket();
  send(socket, names);
  expect(socket.gone.map((group) => group.length)).toEqual([16, 16]);
  await turn();
  expect(socket.gone.map((group) => group.length)).toEqual([16, 16, 8]);
  expect(socket.gone.flat()).toEqual(names);
});

test('a command that is worth many does not wait for others', async () => {
  const socket = new Socket();
  for (const name of names.slice(0, 4)) {
    holdWrites(socket, 20);
    socket.write(name);
  }
  holdWrites(socket);
  socket.write('small');
  expect(socket.gone.map((group) => group.length)).toEqual([1, 1, 1, 1]);
  await turn();
  expect(socket.gone.flat()).toEqual([...names.slice(0, 4), 'small']);
  expect(socket.writableCorked).toBe(0);
});

test('a command alone leaves at the end of its turn, and each turn begins anew', async () => {
  const socket = new Socket();
  for (const name of names) {
    send(socket, [name]);
    await turn();
  }
  expect(socket.gone).toEqual(names.map((name) => [name]));
  send(socket, names.slice(0, 17));
  await turn();
  expect(socket.gone.slice(40).map((group) => group.length)).toEqual([16, 1]);
  expect(socket.writableCorked).toBe(0);
});

test('a client without a socket, as that of a cluster or a pipeline, is left alone', () => {
  expect(() => holdWrites(undefined)).not.toThrow();
});
