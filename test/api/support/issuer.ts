import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { CryptoKey, JWK } from 'jose';

/** A key pair of an issuer, and its public half as it is published. */
export interface Signer {
  kid: string;
  alg: string;
  privateKey: CryptoKey;
  jwk: JWK;
}

export async function signer(kid: string, alg = 'ES256'): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

/** Publishes a key set over HTTP. What it answers can be changed at any moment. */
export interface Issuer {
  readonly url: string;
  /** How often it was asked. */
  readonly asked: number;
  publish(...signers: Signer[]): void;
  answer(with_: (req: IncomingMessage, res: ServerResponse) => void): void;
  /** Takes requests and never answers them. */
  hang(): void;
  stop(): Promise<void>;
}

export async function startIssuer(): Promise<Issuer> {
  let asked = 0;
  let handle: (req: IncomingMessage, res: ServerResponse) => void = (_req, res) => res.writeHead(500).end();
  const server = createServer((req, res) => {
    asked += 1;
    handle(req, res);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    get asked() {
      return asked;
    },
    publish(...signers) {
      const body = JSON.stringify({ keys: signers.map(({ jwk }) => jwk) });
      handle = (_req, res) => res.setHeader('Content-Type', 'application/json').end(body);
    },
    answer: (with_) => (handle = with_),
    hang: () => (handle = () => undefined),
    stop: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

export type Claims = Record<string, unknown>;

/** A token signed by the pair; it lasts five minutes unless the claims say otherwise. */
export function signed({ privateKey, alg, kid }: Signer, claims: Claims): Promise<string> {
  return new SignJWT({ exp: inSeconds(300), ...claims }).setProtectedHeader({ alg, kid }).sign(privateKey);
}

/** The same with a shared secret. */
export function signedWith(secret: string | Uint8Array, claims: Claims, alg = 'HS256'): Promise<string> {
  const key = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret;
  return new SignJWT({ exp: inSeconds(300), ...claims }).setProtectedHeader({ alg }).sign(key);
}

/** A moment as claims have it. */
export function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds;
}
