import { connect } from 'node:net';

export interface RawAnswer {
  status: number;
  head: string;
  body: string;
}

export interface ExchangeOptions {
  /** Without the end of an answer by then the exchange fails. */
  withinMs?: number;
  /** Closes the client's side after the last byte, as a client may that has no more to ask. */
  halfClose?: boolean;
  /** For answers that need not end: whether what has come is all that is wanted. */
  enough?: (text: string) => boolean;
}

/** Sends bytes that no proper client would, reads until the server closes, and gives up after a while. */
export function exchange(
  port: number,
  bytes: Buffer | string,
  { withinMs = 60_000, halfClose = false, enough = () => false }: ExchangeOptions = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(bytes);
      if (halfClose) socket.end();
    });
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${withinMs} ms`)), withinMs);
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (enough(text)) socket.destroy();
    });
    socket.on('error', (error) =>
      reject(new Error(`${error.message} for:\n${bytes.toString().slice(0, 2000)}`)),
    );
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(rawAnswer(text));
    });
  });
}

/** The first answer in what a server sent. */
export function rawAnswer(text: string): RawAnswer {
  // `100 Continue` comes before the answer and is none.
  const [head = '', ...body] = text.replace(/^HTTP\/1\.1 1\d\d [^\r]*\r\n\r\n/, '').split('\r\n\r\n');
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
    head,
    body: body.join('\r\n\r\n'),
  };
}

/** Sends `bytes` and then one more byte each 200 ms, for as long as the server listens; resolves with what it answered. */
export function dribble(port: number, bytes: string): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    const timer = setInterval(() => socket.write('x'), 200);
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => (text += chunk));
    // A byte that crosses with the end of the connection.
    socket.on('error', () => undefined);
    socket.on('end', () => clearInterval(timer));
    socket.on('close', () => {
      clearInterval(timer);
      resolve(rawAnswer(text));
    });
  });
}

/** Sends bytes and is gone, as a client that crashed; resolves when the connection is. */
export function vanish(port: number, bytes: Buffer | string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, () => socket.resetAndDestroy()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
  });
}
