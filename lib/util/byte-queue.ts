/** Bytes as they came, given out in the portions that a reader asks for. */
export interface ByteQueue {
  readonly length: number;
  push(bytes: Buffer): void;
  /** Exactly so many bytes, or nothing while there are fewer. */
  take(count: number): Buffer | undefined;
}

export function byteQueue(): ByteQueue {
  let chunks: Buffer[] = [];
  let start = 0; // of chunks[0]
  let length = 0;

  return {
    get length() {
      return length;
    },
    push(bytes) {
      if (bytes.length === 0) return;
      chunks.push(bytes);
      length += bytes.length;
    },
    take(count) {
      if (count > length) return undefined;
      const first = chunks[0] ?? Buffer.alloc(0);
      if (start + count <= first.length) {
        const taken = first.subarray(start, start + count);
        start += count;
        length -= count;
        if (start === first.length) {
          chunks.shift();
          start = 0;
        }
        return taken;
      }

      // Once for a value, however many chunks it came in: its length was read before.
      const whole = Buffer.concat(chunks).subarray(start);
      chunks = whole.length > count ? [whole.subarray(count)] : [];
      start = 0;
      length -= count;
      return whole.subarray(0, count);
    },
  };
}
