export interface ReadBody {
  text: string;
  /** `base64` when the body is not UTF-8 text. */
  encoding: 'utf8' | 'base64';
  truncated: boolean;
}

/** Reads at most `limit` bytes; the rest is not read, and the connection not used again. */
export async function readBody(stream: AsyncIterable<Uint8Array>, limit: number): Promise<ReadBody> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) break;
  }
  const truncated = length > limit;
  return { ...decode(Buffer.concat(chunks).subarray(0, limit), truncated), truncated };
}

function decode(bytes: Buffer, truncated: boolean): { text: string; encoding: ReadBody['encoding'] } {
  try {
    // As a stream a character that the limit cut in two is left out instead of being an error.
    return {
      text: new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: truncated }),
      encoding: 'utf8',
    };
  } catch {
    return { text: bytes.toString('base64'), encoding: 'base64' };
  }
}
