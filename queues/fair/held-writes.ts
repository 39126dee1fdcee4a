import type { Duplex } from 'node:stream';

/** Commands per write, or what is as much. More would save little, and let the server wait while this process still works. */
const AT_ONCE = 16;

const held = new WeakMap<Duplex, number>();

/**
 * To be called before each command: what one turn of the event loop writes to a socket leaves in writes of a few commands
 * each, where every command would be a system call of its own here and, mostly, another one in the server.
 *
 * @param size how many commands it is worth: one that does the work of many is not to wait for others; 0 for one that was
 *   counted already, or is not worth a write
 */
export function holdWrites(stream: Duplex | undefined, size = 1): void {
  if (!stream) return;
  const before = held.get(stream);
  if (before === undefined) {
    stream.cork();
    process.nextTick(() => {
      held.delete(stream);
      stream.uncork();
    });
  }
  if (before !== undefined && before >= AT_ONCE && size > 0) {
    stream.uncork();
    stream.cork();
    held.set(stream, size);
  } else {
    held.set(stream, (before ?? 0) + size);
  }
}
