import { connect } from 'node:net';

export interface RawAnswer {
  status: number;
  head: string;
  body: string;
}

/** Sends bytes that no proper client would, reads until the server closes, and gives up after `withinMs`. */
export function exchange(port: number, bytes: Buffer | string, withinMs = 60_000): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${withinMs} ms`)), withinMs);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', (error) =>
      reject(new Error(`${error.message} for:\n${bytes.toString().slice(0, 2000)}`)),
    );
    socket.on('close', () => {
      clearTimeout(timer);
      // `100 Continue` comes before the answer and is none.
      const text = Buffer.concat(chunks)
        .toString()
        .replace(/^HTTP\/1\.1 1\d\d [^\r]*\r\n\r\n/, '');
      const [head = '', ...body] = text.split('\r\n\r\n');
      resolve({
        status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
        head,
        body: body.join('\r\n\r\n'),
      });
    });
  });
}
