import fc from 'fast-check';
import type { HostileRequest } from './requests.ts';

/** How a request is put into bytes. Only `plain` and `chunked` keep to the rules. */
const framings = [
  ...['plain', 'chunked', 'no-chunk-size', 'cut-chunk', 'cut-length', 'abandoned', 'excess', 'both-lengths'],
  ...[
    'two-lengths',
    'bad-length',
    'odd-coding',
    'no-host',
    'two-hosts',
    'http-1.0',
    'http-0.9',
    'http-2',
    'connect',
  ],
  ...[
    'many-headers',
    'big-header',
    'too-big-header',
    'nul-in-header',
    'folded',
    'bare-feeds',
    'raw-target',
    'latin1',
  ],
] as const;
export type Framing = (typeof framings)[number];

export const framing: fc.Arbitrary<Framing> = fc.oneof(
  { weight: 20, arbitrary: fc.constant('plain' as const) },
  { weight: 2, arbitrary: fc.constant('chunked' as const) },
  { weight: 4, arbitrary: fc.constantFrom(...framings) },
);

export interface OnTheWire {
  bytes: Buffer;
  /** What the client does after the last byte: waits, closes its side, or is gone. */
  then: 'wait' | 'half-close' | 'vanish';
}

const CHUNK_BYTES = 700;

/** The request as bytes. */
export function onTheWire(request: HostileRequest, how: Framing, tokens: Record<string, string>): OnTheWire {
  const token = request.credential === 'garbage' ? `${tokens['own']}x` : tokens[request.credential];
  const headers: [string, string][] = [
    ...(how === 'no-host' ? [] : [['Host', 'waggle.test'] as [string, string]]),
    ...(how === 'two-hosts' ? [['Host', 'other.test'] as [string, string]] : []),
    ['Connection', 'close'],
    ...(token === undefined ? [] : [['Authorization', `Bearer ${token}`] as [string, string]]),
    ...request.headers.map(([name, text]) => [name, text.replaceAll(/[\r\n\0]/g, ' ')] as [string, string]),
    ...oddHeaders(how),
  ];
  const { lengths, body } = framed(request.body, how);
  const end = how === 'bare-feeds' ? '\n' : '\r\n';
  const head = [
    startLine(request, how),
    ...[...headers, ...lengths].map(([name, text]) => `${name}: ${text}`),
  ];
  return {
    bytes: Buffer.concat([
      Buffer.from(`${head.join(end)}${end}${end}`, how === 'latin1' ? 'latin1' : 'utf8'),
      body,
    ]),
    then: how === 'abandoned' ? 'vanish' : how.startsWith('cut-') ? 'half-close' : 'wait',
  };
}

function startLine({ method, target }: HostileRequest, how: Framing): string {
  const safe = target.replaceAll(/[\s\u0000-\u001f\u007f]/gu, '%20');
  switch (how) {
    case 'http-1.0':
      return `${method} ${safe} HTTP/1.0`;
    case 'http-0.9':
      return `${method} ${safe}`;
    case 'http-2':
      return 'PRI * HTTP/2.0';
    case 'connect':
      return 'CONNECT evil.example:443 HTTP/1.1';
    case 'raw-target':
      return `${method} ${target.replaceAll(/[\r\n]/g, '')} HTTP/1.1`;
    default:
      return `${method} ${safe} HTTP/1.1`;
  }
}

function oddHeaders(how: Framing): [string, string][] {
  switch (how) {
    case 'many-headers':
      return Array.from({ length: 1000 }, (_, n) => [`X-${n}`, 'x']);
    case 'big-header':
      return [['X-Big', 'x'.repeat(10_000)]];
    case 'too-big-header':
      return [['X-Big', 'x'.repeat(20_000)]];
    case 'nul-in-header':
      return [['X-Nul', 'a\0b']];
    case 'folded':
      return [['X-Folded', 'a\r\n b']];
    default:
      return [];
  }
}

interface Framed {
  lengths: [string, string][];
  body: Buffer;
}

function framed(body: Buffer, how: Framing): Framed {
  const length: [string, string] = ['Content-Length', String(body.length)];
  const chunked: [string, string] = ['Transfer-Encoding', 'chunked'];
  switch (how) {
    case 'chunked':
      return { lengths: [chunked], body: Buffer.concat([chunks(body), Buffer.from('0\r\n\r\n')]) };
    case 'cut-chunk':
      return { lengths: [chunked], body: Buffer.concat([chunks(body), Buffer.from('ff\r\nx')]) };
    case 'no-chunk-size':
      return { lengths: [chunked], body: Buffer.concat([chunks(body), Buffer.from('xyz\r\n')]) };
    case 'cut-length':
    case 'abandoned':
      return { lengths: [['Content-Length', String(body.length + 10)]], body };
    case 'excess':
      return { lengths: [length], body: Buffer.concat([body, Buffer.from('GET /smuggled')]) };
    case 'both-lengths':
      return { lengths: [length, chunked], body };
    case 'two-lengths':
      return { lengths: [length, ['Content-Length', String(body.length + 1)]], body };
    case 'bad-length':
      return { lengths: [['Content-Length', '-1']], body };
    case 'odd-coding':
      return { lengths: [['Transfer-Encoding', 'gzip, identity']], body };
    default:
      return { lengths: [length], body };
  }
}

function chunks(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let from = 0; from < body.length; from += CHUNK_BYTES) {
    const part = body.subarray(from, from + CHUNK_BYTES);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}
