import { type GlobalName, globalNames, type Instance, type Value } from './values.js';

/**
 * Writes a state as a pickle of protocol 4, which every Python reads that PyTorch runs on. A text, a name and a node that
 * come again are references, as Python writes them; there are no frames.
 *
 * @source CPython 3.11, Lib/pickletools.py
 */
export function pickle(state: Instance): Buffer {
  const pickler = createPickler();
  pickler.bytes(0x80, 4);
  writeValue(pickler, state);
  pickler.bytes(0x2e);
  return pickler.written();
}

interface Pickler {
  bytes(...bytes: readonly number[]): void;
  number(value: number, bytes: 1 | 2 | 4): void;
  raw(bytes: Uint8Array): void;
  /** Writes what `write` does the first time, and a reference to it from then on. @param key one for each such value */
  once(key: string | Instance, write: () => void): void;
  written(): Buffer;
}

function createPickler(): Pickler {
  let buffer = Buffer.allocUnsafe(1024);
  let length = 0;
  const memo = new Map<string | Instance, number>();
  const room = (bytes: number): number => {
    if (length + bytes > buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, length + bytes));
      buffer.copy(larger, 0, 0, length);
      buffer = larger;
    }
    length += bytes;
    return length - bytes;
  };
  const own: Pickler = {
    bytes: (...bytes) => own.raw(Buffer.from(bytes)),
    number(value, bytes) {
      const at = room(bytes);
      buffer.writeUIntLE(value, at, bytes);
    },
    raw(bytes) {
      const at = room(bytes.length);
      buffer.set(bytes, at);
    },
    once(key, write) {
      const index = memo.get(key);
      if (index === undefined) {
        write();
        memo.set(key, memo.size);
        own.bytes(0x94); // MEMOIZE: numbers by their count, as ours
      } else if (index < 256) own.bytes(0x68, index);
      else {
        own.bytes(0x6a);
        own.number(index, 4);
      }
    },
    written: () => buffer.subarray(0, length),
  };
  return own;
}

function writeValue(to: Pickler, value: Value): void {
  if (value === null) to.bytes(0x4e);
  else if (typeof value === 'boolean') to.bytes(value ? 0x88 : 0x89);
  else if (typeof value === 'number') writeNumber(to, value);
  else if (typeof value === 'bigint') writeLong(to, value);
  else if (typeof value === 'string') writeText(to, value);
  else if (Buffer.isBuffer(value)) writeSized(to, value, 0x43, 0x42);
  else writeObject(to, value);
}

function writeObject(to: Pickler, value: Extract<Value, { readonly is: string }>): void {
  switch (value.is) {
    case 'tuple':
      to.bytes(0x28);
      for (const item of value.items) writeValue(to, item);
      to.bytes(0x74);
      return;
    case 'dict':
      writeDict(to, value.entries);
      return;
    case 'set':
      to.bytes(0x8f, 0x28);
      for (const item of value.items) writeValue(to, item);
      to.bytes(0x90);
      return;
    case 'time':
      writeGlobal(to, 'datetime');
      writeValue(to, value.fields);
      if (value.isAware) to.once('utc', () => writeUtc(to));
      to.bytes(value.isAware ? 0x86 : 0x85, 0x52);
      return;
    case 'instance':
      writeInstance(to, value);
      return;
  }
}

function writeNumber(to: Pickler, value: number): void {
  if (!Number.isInteger(value)) throw new RangeError(`${value} is no whole number`);
  if (value !== (value | 0)) writeLong(to, BigInt(value));
  else if (value < 0 || value > 0xffff) {
    to.bytes(0x4a);
    to.number(value >>> 0, 4);
  } else if (value > 0xff) {
    to.bytes(0x4d);
    to.number(value, 2);
  } else to.bytes(0x4b, value);
}

/** In two's complement, the lowest byte first. */
function writeLong(to: Pickler, value: bigint): void {
  let length = 1;
  while (BigInt.asIntN(length * 8, value) !== value) length += 1;
  const hex = BigInt.asUintN(length * 8, value)
    .toString(16)
    .padStart(length * 2, '0');
  to.bytes(0x8a, length);
  to.raw(Buffer.from(hex, 'hex').reverse());
}

function writeText(to: Pickler, text: string): void {
  to.once(`text ${text}`, () => writeSized(to, Buffer.from(text), 0x8c, 0x58));
}

function writeSized(to: Pickler, bytes: Buffer, short: number, long: number): void {
  if (bytes.length < 256) to.bytes(short, bytes.length);
  else {
    to.bytes(long);
    to.number(bytes.length, 4);
  }
  to.raw(bytes);
}

function writeDict(to: Pickler, entries: Iterable<readonly [Value, Value]>): void {
  to.bytes(0x7d, 0x28);
  for (const [key, value] of entries) {
    writeValue(to, key);
    writeValue(to, value);
  }
  to.bytes(0x75);
}

function writeGlobal(to: Pickler, name: GlobalName): void {
  to.once(`global ${name}`, () => {
    for (const part of globalNames[name]) writeText(to, part);
    to.bytes(0x93);
  });
}

/** `timezone(timedelta(0, 0, 0))` */
function writeUtc(to: Pickler): void {
  writeGlobal(to, 'timezone');
  writeGlobal(to, 'timedelta');
  to.bytes(0x4b, 0, 0x4b, 0, 0x4b, 0, 0x87, 0x52, 0x85, 0x52);
}

function writeInstance(to: Pickler, instance: Instance): void {
  to.once(instance, () => {
    writeGlobal(to, instance.of);
    to.bytes(0x29, 0x81);
    writeDict(to, instance.attributes);
    to.bytes(0x62);
  });
}
