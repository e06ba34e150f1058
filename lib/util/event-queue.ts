/**
 * One writer, any number of readers that come and go; each sees what's written from its
 * subscription on.
 */
export interface Broadcast<T> {
  publish(value: T): void;
  /** Readers get what's queued for them, then the end. Idempotent. */
  end(): void;
  subscribe(): AsyncIterable<T>;
}

/**
 * @param droppable values that a slow reader may lose. Each reader holds at most `maxDroppable` of
 *   them, the newest; all others are kept until read.
 */
export function broadcast<T>(options: {
  readonly droppable: (value: T) => boolean;
  readonly maxDroppable: number;
}): Broadcast<T> {
  const readers = new Set<Reader<T>>();
  let ended = false;

  return {
    publish(value) {
      for (const reader of readers) push(reader, value, options);
    },
    end() {
      ended = true;
      for (const reader of readers) finish(reader);
      readers.clear();
    },
    subscribe() {
      const reader: Reader<T> = { queue: [], droppable: 0, waiting: [], ended };
      if (!ended) readers.add(reader);
      return iterate(reader, options.droppable, () => readers.delete(reader));
    },
  };
}

interface Reader<T> {
  readonly queue: T[];
  /** How many values of `queue` are. */
  droppable: number;
  readonly waiting: ((result: IteratorResult<T, undefined>) => void)[];
  ended: boolean;
}

function push<T>(
  reader: Reader<T>,
  value: T,
  { droppable, maxDroppable }: { droppable: (value: T) => boolean; maxDroppable: number },
): void {
  const waiting = reader.waiting.shift();
  if (waiting !== undefined) {
    waiting({ done: false, value });
    return;
  }

  reader.queue.push(value);
  if (!droppable(value)) return;
  if (reader.droppable < maxDroppable) {
    reader.droppable++;
    return;
  }
  reader.queue.splice(reader.queue.findIndex(droppable), 1);
}

function finish<T>(reader: Reader<T>): void {
  reader.ended = true;
  for (const waiting of reader.waiting.splice(0)) waiting({ done: true, value: undefined });
}

function iterate<T>(
  reader: Reader<T>,
  droppable: (value: T) => boolean,
  leave: () => void,
): AsyncIterable<T> {
  const iterator: AsyncIterator<T, undefined> = {
    next: () => {
      const value = reader.queue.shift();
      if (value !== undefined) {
        if (droppable(value)) reader.droppable--;
        return Promise.resolve({ done: false, value });
      }
      if (reader.ended) return Promise.resolve({ done: true, value: undefined });
      return new Promise(resolve => reader.waiting.push(resolve));
    },
    return: () => {
      leave();
      reader.queue.length = 0;
      finish(reader);
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
