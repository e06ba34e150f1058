import t from 'tap';
import { pickle } from '../../../lib/rendezvous/stock/pickle.js';
import { unpickle } from '../../../lib/rendezvous/stock/unpickle.js';
import { limits, MalformedState, stateModule } from '../../../lib/rendezvous/stock/values.js';
import { blobs } from './blobs.js';

/** Bytes of instructions, by pickletools' names: a number is itself, a text is a SHORT_BINUNICODE. */
function bytes(...parts: readonly (number | string | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map(part => {
      if (typeof part === 'number') return Buffer.of(part);
      if (typeof part !== 'string') return part;
      return Buffer.concat([Buffer.of(0x8c, Buffer.byteLength(part)), Buffer.from(part)]);
    }),
  );
}

const proto = Buffer.of(0x80, 4);
const emptyTuple = 0x29;
const emptyDict = 0x7d;
const emptySet = 0x8f;
const mark = 0x28;
const setItems = 0x75;
const setItem = 0x73;
const stackGlobal = 0x93;
const newObject = 0x81;
const reduce = 0x52;
const build = 0x62;
const memoize = 0x94;
const tuple1 = 0x85;
const tuple2 = 0x86;
const stop = 0x2e;
const zero = Buffer.of(0x4b, 0);

const stateClass = bytes(stateModule, '_RendezvousState', stackGlobal);
const nodeClass = bytes(stateModule, '_NodeDesc', stackGlobal);

/** A state whose only attribute is what those instructions make. */
function stateWith(...value: readonly (number | string | Buffer)[]): Buffer {
  const attributes = bytes(emptyDict, 'x', ...value, setItem);
  return bytes(proto, stateClass, emptyTuple, newObject, attributes, build, stop);
}

function outcome(blob: Buffer, within = limits): string {
  try {
    unpickle(blob, within);
    return 'read';
  } catch (error) {
    if (error instanceof MalformedState) return error.message;
    throw error;
  }
}

t.test('R-006 what stock agents write is read, and comes back as it was', async t => {
  for (const { release, holds, pickle: blob } of blobs) {
    const state = unpickle(blob);

    t.strictSame(unpickle(pickle(state)), state, `${release}: ${holds}`);
    t.equal(state.of, 'state');
  }
});

t.test('R-009 values of every kind that a pickle may have are read, and come back', async t => {
  const kinds: readonly [
    name: string,
    code: readonly (number | string | Buffer)[],
    value: unknown,
  ][] = [
    ['None', [0x4e], null],
    ['True', [0x88], true],
    ['False', [0x89], false],
    ['BININT1', [0x4b, 255], 255],
    ['BININT2', [0x4d, 0, 1], 256],
    ['BININT', [0x4a, 0xff, 0xff, 0xff, 0xff], -1],
    ['LONG1 of nothing', [0x8a, 0], 0],
    ['LONG1', [0x8a, 5, 0, 0, 0, 0, 1], 2 ** 32],
    ['LONG1 below 0', [0x8a, 1, 0x80], -128],
    ['LONG1 beyond a number', [0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0x80, 0], 2n ** 63n],
    ['text', ['é'], 'é'],
    ['long text', [0x58, 1, 0, 0, 0, 0x61], 'a'],
    ['bytes', [0x43, 2, 0, 255], Buffer.of(0, 255)],
    ['long bytes', [0x42, 1, 0, 0, 0, 7], Buffer.of(7)],
    ['()', [emptyTuple], { is: 'tuple', items: [] }],
    ['(0, None)', [zero, 0x4e, tuple2], { is: 'tuple', items: [0, null] }],
    ['a marked tuple', [mark, zero, zero, 0x74], { is: 'tuple', items: [0, 0] }],
    ['{}', [emptyDict], { is: 'dict', entries: [] }],
    [
      '__proto__',
      [emptyDict, '__proto__', zero, setItem],
      { is: 'dict', entries: [['__proto__', 0]] },
    ],
    ['set()', [emptySet, mark, 0x90], { is: 'set', items: [] }],
  ];
  for (const [name, code, value] of kinds) {
    const state = unpickle(stateWith(...code));

    t.strictSame(state.attributes.get('x'), value, name);
    t.strictSame(unpickle(pickle(state)), state, `${name}, written`);
  }
});

t.test('R-006, R-050 whatever else a pickle has is refused, and run by nobody', async t => {
  const time = Buffer.from('07ea0b160c021a09633b', 'hex');
  const datetime = bytes('datetime', 'datetime', stackGlobal);
  const refused: readonly [what: string, blob: Buffer, why: RegExp][] = [
    ['nothing', Buffer.of(), /ends too early/],
    ['protocol 0', Buffer.from('(dp0\n.'), /protocol 2 to 5/],
    ['protocol 6', bytes(0x80, 6, zero, stop), /protocol 2 to 5/],
    ['a second beginning', bytes(proto, proto, zero, stop), /0x80 at byte 2/],
    ['os.system', stateWith('os', 'system', stackGlobal, 'true', tuple1, reduce), /"os.system"/],
    ['posix.system', stateWith('posix', 'system', stackGlobal), /"posix.system" has no place/],
    ['builtins.eval', stateWith('builtins', 'eval', stackGlobal), /builtins.eval/],
    ['the class elsewhere', stateWith('evil', '_NodeDesc', stackGlobal), /evil._NodeDesc/],
    ['another class there', stateWith(stateModule, 'pickle', stackGlobal), /rendezvous.pickle/],
    ['a dotted name', stateWith('datetime', 'datetime.now', stackGlobal), /datetime.now/],
    ['a name that is no text', stateWith(zero, zero, stackGlobal), /"\?\.\?"/],
    ['GLOBAL', stateWith(0x63, Buffer.from('os\nsystem\n')), /0x63 at byte \d+ is none/],
    ['INST', stateWith(0x69, Buffer.from('os\nsystem\n')), /0x69/],
    ['OBJ', stateWith(0x6f), /0x6f/],
    ['EXT1', stateWith(0x82, 1), /0x82/],
    ['PERSID', stateWith(0x50, Buffer.from('1\n')), /0x50/],
    ['NEWOBJ_EX', stateWith(0x92), /0x92/],
    ['a class as a value', stateWith(nodeClass), /global is no value/],
    ['a class in a tuple', stateWith(nodeClass, tuple1), /part of a value/],
    ['a called node', stateWith(nodeClass, emptyTuple, reduce), /node with other arguments/],
    ['a called state', stateWith(stateClass, emptyTuple, reduce), /state with other arguments/],
    ['a call of a text', stateWith('system', emptyTuple, reduce), /a call of that/],
    ['a new datetime', stateWith(datetime, emptyTuple, newObject), /no such class/],
    ['a node with arguments', stateWith(nodeClass, zero, tuple1, newObject), /with arguments/],
    ['a node without attributes', stateWith(nodeClass, emptyTuple, newObject), /part of a value/],
    [
      'a node built twice',
      stateWith(nodeClass, emptyTuple, newObject, emptyDict, build, emptyDict, build),
      /none to get/,
    ],
    ['a built dict', stateWith(emptyDict, emptyDict, build), /none to get/],
    [
      'attributes in a tuple',
      stateWith(nodeClass, emptyTuple, newObject, 0x4e, emptyDict, tuple2, build),
      /no dict/,
    ],
    [
      'an attribute named 0',
      stateWith(nodeClass, emptyTuple, newObject, emptyDict, zero, zero, setItem, build),
      /no text/,
    ],
    [
      'a state in a state',
      stateWith(stateClass, emptyTuple, newObject, emptyDict, build),
      /a state is in another/,
    ],
    ['a time of one byte', stateWith(datetime, 0x43, 1, 7, tuple1, reduce), /07 is no time/],
    [
      'the 13th month',
      stateWith(datetime, 0x43, 10, Buffer.from('07ea0d160c021a09633b', 'hex'), tuple1, reduce),
      /is no time/,
    ],
    [
      'a time with another zone',
      stateWith(datetime, 0x43, 10, time, 'UTC', tuple2, reduce),
      /datetime with other arguments/,
    ],
    [
      'a zone with an offset',
      stateWith('datetime', 'timedelta', stackGlobal, zero, 0x4b, 60, zero, 0x87, reduce),
      /timedelta with other arguments/,
    ],
    [
      'a zone as a value',
      stateWith('datetime', 'timedelta', stackGlobal, zero, zero, zero, 0x87, reduce),
      /zero is no value/,
    ],
    ['a dict as a key', stateWith(emptyDict, emptyDict, zero, setItem), /a dict is no key/],
    ['a key alone', stateWith(emptyDict, mark, zero, setItems), /key without a value/],
    ['items of a tuple', stateWith(emptyTuple, zero, zero, setItem), /no dict/],
    ['items of a dict', stateWith(emptyDict, mark, zero, 0x90), /no set/],
    ['no mark', stateWith(0x74), /there is no mark/],
    ['below a mark', stateWith(emptyDict, mark, zero, setItem), /nothing to take/],
    ['a reference to nothing', stateWith(0x68, 9), /reference 9 leads nowhere/],
    ['a value in itself', stateWith(emptyDict, memoize, 'x', 0x68, 0, setItem), /isn't finished/],
    ['a tuple in itself', stateWith(mark, emptyDict, memoize, 0x68, 0, 0x74), /isn't finished/],
    [
      'a node in itself',
      stateWith(nodeClass, emptyTuple, newObject, memoize, emptyDict, 'x', 0x68, 0, setItem, build),
      /isn't finished/,
    ],
    ['a text of 4 GiB', stateWith(0x58, 0xff, 0xff, 0xff, 0xff), /ends too early/],
    ['bytes of 4 GiB', stateWith(0x42, 0xff, 0xff, 0xff, 0xff), /ends too early/],
    ['a frame of 2^64 bytes', stateWith(0x95, Buffer.alloc(8, 255)), /ends too early/],
    ['half a character', stateWith(0x8c, 2, 0xed, 0xa0), /not UTF-8/],
    [
      'a node',
      bytes(proto, nodeClass, emptyTuple, newObject, emptyDict, build, stop),
      /no _RendezvousState/,
    ],
    ['a number', bytes(proto, zero, stop), /no _RendezvousState/],
    ['an empty stack', bytes(proto, stop), /no _RendezvousState/],
    [
      'an unbuilt state',
      bytes(proto, stateClass, emptyTuple, newObject, stop),
      /no _RendezvousState/,
    ],
    ['two values', bytes(proto, zero, zero, stop), /there is more/],
    ['something behind it', bytes(stateWith(zero), zero), /there is more/],
    ['no end', stateWith(zero).subarray(0, -1), /ends too early/],
  ];
  for (const [what, blob, why] of refused) t.match(outcome(blob), why, what);
});

t.test('R-006 bombs are refused before they take memory or time', async t => {
  const within = { bytes: 50_000, values: 10_000, memo: 5_000 };
  const referring = (count: number): Buffer => Buffer.alloc(2 * count, Buffer.of(0x68, 0));
  const longText = bytes(0x58, Buffer.of(0, 16, 0, 0), Buffer.alloc(4096, 0x61), memoize);
  // Each tuple refers twice to the one before it.
  const doubled = Array.from({ length: 40 }, (_, i) => bytes(0x68, i, 0x68, i, tuple2, memoize));
  // Each has a hundred times what is before it; nothing is deep.
  const node = bytes(nodeClass, emptyTuple, newObject, emptyDict, build, memoize);
  const hundredfold = Array.from({ length: 6 }, (_, i) =>
    bytes(mark, Buffer.alloc(200, Buffer.of(0x68, i)), 0x74, memoize),
  );
  const dict = bytes(emptyDict, 'x');
  const bombs: readonly [what: string, blob: Buffer, why: RegExp][] = [
    ['too long', Buffer.alloc(50_001), /it has 50001 bytes, and 50000 are the most/],
    ['nested tuples', stateWith(emptyTuple, Buffer.alloc(9_000, tuple1)), /more than 16 deep/],
    ['marks', stateWith(Buffer.alloc(9_000, mark)), /more than 16 deep/],
    [
      'nested dicts',
      stateWith(...Array(17).fill(dict), emptyDict, Buffer.alloc(17, setItem)),
      /more than 16 deep/,
    ],
    ['values', stateWith(mark, Buffer.alloc(10_000, 0x4e), 0x74), /more than 10000 values/],
    ['references', stateWith(zero, memoize, mark, referring(10_000), 0x74), /than 10000 values/],
    [
      'remembered values',
      stateWith(mark, Buffer.alloc(10_002, Buffer.of(0x4e, memoize)), 0x74),
      /more than 5000 remembered/,
    ],
    ['a long text', stateWith(mark, longText, referring(20), 0x74), /more than 50000 bytes/],
    ['doubled tuples', stateWith(emptyTuple, memoize, ...doubled), /more than 50000 bytes/],
    ['a hundredfold', stateWith(mark, node, ...hundredfold, 0x74), /more than 50000 bytes/],
  ];
  for (const [what, blob, why] of bombs) t.match(outcome(blob, within), why, what);
  t.match(outcome(Buffer.alloc(limits.bytes + 1)), /it has 16777217 bytes/);
});

t.test('R-006 a pickle that was cut off is refused, wherever that was', async t => {
  for (const { pickle: blob } of blobs) {
    for (let length = 0; length < blob.length; length++)
      if (outcome(blob.subarray(0, length)) === 'read') t.fail(`${length} of ${blob.length} bytes`);
  }
});

t.test('R-006 damaged pickles are refused, or read as what Python could write', async t => {
  let random = 1;
  const below = (limit: number): number => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((random / 2 ** 32) * limit);
  };
  const outcomes = { read: 0, refused: 0 };
  const check = (blob: Buffer): void => {
    if (outcome(blob) !== 'read') {
      outcomes.refused += 1;
      return;
    }
    outcomes.read += 1;
    const written = pickle(unpickle(blob));
    if (!pickle(unpickle(written)).equals(written)) t.fail(blob.toString('hex'));
  };
  for (const { pickle: blob } of [blobs[0], blobs[3]] as typeof blobs) {
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const flipped = Buffer.from(blob);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      check(flipped);
    }
    for (let i = 0; i < 200; i++) {
      const parts = Array.from({ length: 1 + below(4) }, () => {
        const from = below(blob.length);
        return blob.subarray(from, from + below(blob.length - from));
      });
      check(Buffer.concat([blob.subarray(0, below(blob.length)), ...parts]));
      const changed = Buffer.from(blob);
      for (let n = below(5); n >= 0; n--) changed.writeUInt8(below(256), below(blob.length));
      check(changed);
    }
  }
  t.ok(outcomes.read > 100 && outcomes.refused > 4_000, JSON.stringify(outcomes));
});
