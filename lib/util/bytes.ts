/**
 * Texts for bytes that the kernel, or a user, has given: names of files, arguments, variables. They needn't be UTF-8. A
 * byte that isn't is a surrogate without its other half, U+DC00 plus the byte, so that every text leads back to its
 * bytes; the addon does that for what workers get, and `onDisk` for node:fs, which would write U+FFFD.
 *
 * @source PEP 383: Python's `surrogateescape`, so that torchrun's texts have the same characters
 */

const replacement = '\uFFFD';
const lone = /[\uDC80-\uDCFF]/u;
const firstLone = 0xdc00;

/** The text for some bytes. */
export function textOf(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  // Only what isn't UTF-8 becomes this, or what is this.
  return text.includes(replacement) ? decode(bytes) : text;
}

/** The bytes of a text. Surrogates that stand for no byte become U+FFFD. */
export function bytesOf(text: string): Buffer {
  if (!hasBytes(text)) return Buffer.from(text);
  const parts = text.split(/([\uDC80-\uDCFF]+)/u);
  return Buffer.concat(
    parts.map((part, i) =>
      i % 2 === 0
        ? Buffer.from(part)
        : Buffer.from(Array.from(part, unit => unit.charCodeAt(0) - firstLone)),
    ),
  );
}

/** Whether a text stands for bytes that aren't UTF-8. */
export function hasBytes(text: string): boolean {
  return lone.test(text);
}

/** A path as node:fs takes it. */
export function onDisk(path: string): string | Buffer {
  return hasBytes(path) ? bytesOf(path) : path;
}

/** What people and JSON are shown of a text: nothing that isn't Unicode. */
export function shown(text: string): string {
  return hasBytes(text) ? Buffer.from(text).toString('utf8') : text;
}

function decode(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceAt(bytes, at);
    if (length === 0) {
      text += String.fromCharCode(firstLone + (bytes[at++] as number)); // within its length
    } else {
      text += Buffer.from(bytes.subarray(at, at + length)).toString('utf8');
      at += length;
    }
  }
  return text;
}

/** Bytes of the character that begins there; 0: none does. @source Unicode 15.0, table 3-7 */
function sequenceAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] ?? 0;
    const [lowest, highest] = i === 1 ? secondOf(first) : [0x80, 0xbf];
    if (byte < lowest || byte > highest) return 0;
  }
  return length;
}

/** Range of the byte behind a first one: no character has two forms, and none is half a pair, or above U+10FFFF. */
function secondOf(first: number): readonly [lowest: number, highest: number] {
  switch (first) {
    case 0xe0:
      return [0xa0, 0xbf];
    case 0xed:
      return [0x80, 0x9f];
    case 0xf0:
      return [0x90, 0xbf];
    case 0xf4:
      return [0x80, 0x8f];
    default:
      return [0x80, 0xbf];
  }
}
