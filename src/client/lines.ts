import { WaggleError } from './waggle-error.ts';

export const NDJSON = 'application/x-ndjson';

/**
 * The lines of an answer, as they come, without empty ones. Leaving the loop ends the answer.
 * @param silenceMs when nothing comes for so long, the connection is taken for lost
 * @throws WaggleError unreachable, timeout
 */
export async function* linesOf(response: Response, silenceMs: number): AsyncGenerator<string> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await bounded(reader.read(), silenceMs);
      // What has no end at the end was cut off.
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield line;
    }
  } finally {
    // Not waited for: a connection that says nothing would not answer that, either.
    reader.cancel().catch(() => undefined);
  }
}

async function bounded<T>(reading: Promise<T>, silenceMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new WaggleError('timeout', 'The connection is silent.')), silenceMs);
  });
  try {
    return await Promise.race([reading, silence]);
  } catch (cause) {
    if (cause instanceof WaggleError) throw cause;
    throw new WaggleError('unreachable', 'The connection broke.', { cause });
  } finally {
    clearTimeout(timer);
  }
}
