import fc from 'fast-check';
import t from 'tap';
import {
  type Dialect,
  encodeRequest,
  MalformedReply,
  numberOf,
  type Reading,
  type Request,
  readCount,
  readI64,
  readKeys,
  readNonce,
  readPopped,
  readPresence,
  readRelease,
  readValue,
  readValues,
} from '../../lib/store/wire.js';
import { byteQueue } from '../../lib/util/byte-queue.js';

const limits = { valueBytes: 1_000, listKeys: 10 };

/** `01 00..` is a 64-bit 1, as the recordings of PyTorch's traffic are written. */
function bytes(hex: string): Buffer {
  const whole = hex.replace(/(\w\w) 00\.\./g, '$1 00 00 00 00 00 00 00');
  return Buffer.from(whole.replaceAll(/[\s|]/g, ''), 'hex');
}

const text = (value: string) => Buffer.from(value);

/** The reply, given so many bytes at a time; nothing if it isn't whole yet. */
function read<T>(
  reading: Reading<T>,
  reply: Uint8Array,
  portion = 64,
): { readonly value: T; readonly left: number } | undefined {
  const queue = byteQueue();
  let step = reading.next();
  for (let at = 0; at < reply.length; at += portion) {
    queue.push(Buffer.from(reply.subarray(at, at + portion)));
    while (!step.done) {
      const asked = queue.take(step.value);
      if (asked === undefined) break;
      step = reading.next(asked);
    }
  }
  return step.done ? { value: step.value, left: queue.length } : undefined;
}

const requests: readonly [what: string, dialect: Dialect, request: Request, hex: string][] = [
  ['T-014 VALIDATE', 'D', { op: 'validate' }, '00 ce f7 85 3c'],
  ['T-016 PING', 'D', { op: 'ping', nonce: 0x71e7 }, '0d e7 71 00 00'],
  ['SET', 'D', { op: 'set', key: '/k', value: text('v') }, '01 | 02 00.. 2f 6b | 01 00.. 76'],
  ['T-003 empty', 'D', { op: 'set', key: '/', value: text('') }, '01 | 01 00.. 2f | 00 00..'],
  [
    'SET of 1.13',
    'A',
    { op: 'set', key: '/k', value: text('v') },
    '00 | 02 00.. 2f 6b | 01 00.. 76',
  ],
  ['GET', 'D', { op: 'get', key: '/k' }, '03 | 02 00.. 2f 6b'],
  ['ADD', 'D', { op: 'add', key: '/n', delta: 5n }, '04 | 02 00.. 2f 6e | 05 00..'],
  [
    'ADD down',
    'D',
    { op: 'add', key: '/n', delta: -7n },
    '04 | 02 00.. 2f 6e | f9 ff ff ff ff ff ff ff',
  ],
  [
    'COMPARE_SET',
    'D',
    { op: 'compareSet', key: '/c1', expected: text(''), desired: text('new') },
    '02 | 03 00.. 2f 63 31 | 00 00.. | 03 00.. 6e 65 77',
  ],
  [
    'CHECK',
    'D',
    { op: 'check', keys: ['/k', '/no'] },
    '05 | 02 00.. | 02 00.. 2f 6b | 03 00.. 2f 6e 6f',
  ],
  ['CHECK of nothing', 'D', { op: 'check', keys: [] }, '05 | 00 00..'],
  ['WAIT', 'D', { op: 'wait', keys: ['/k'] }, '06 | 01 00.. | 02 00.. 2f 6b'],
  ['T-097 CANCEL_WAIT', 'D', { op: 'cancelWait' }, '0c'],
  ['CANCEL_WAIT of 2.1', 'B', { op: 'cancelWait' }, '0b'],
  ['GETNUMKEYS', 'D', { op: 'numKeys' }, '07'],
  ['DELETE_KEY', 'D', { op: 'deleteKey', key: '/c1' }, '08 | 03 00.. 2f 63 31'],
  ['DELETE_KEY of 2.1', 'B', { op: 'deleteKey', key: '/c1' }, '07 | 03 00.. 2f 63 31'],
  ['DELETE_KEY of 1.13', 'A', { op: 'deleteKey', key: '/c1' }, '08 | 03 00.. 2f 63 31'],
  [
    'APPEND',
    'D',
    { op: 'append', key: '/a1', value: text('foo') },
    '09 | 03 00.. 2f 61 31 | 03 00.. 66 6f 6f',
  ],
  [
    'MULTI_SET',
    'D',
    {
      op: 'multiSet',
      pairs: [
        ['/m1', text('one')],
        ['/m2', text('two')],
      ],
    },
    '0b | 02 00.. | 03 00.. 2f 6d 31 | 03 00.. 6f 6e 65 | 03 00.. 2f 6d 32 | 03 00.. 74 77 6f',
  ],
  ['MULTI_GET', 'D', { op: 'multiGet', keys: ['/m1'] }, '0a | 01 00.. | 03 00.. 2f 6d 31'],
  [
    'QUEUE_PUSH',
    'D',
    { op: 'queuePush', key: '/q', value: text('e1') },
    '0e | 02 00.. 2f 71 | 02 00.. 65 31',
  ],
  ['QUEUE_POP', 'D', { op: 'queuePop', key: '/q' }, '0f | 02 00.. 2f 71'],
  ['QUEUE_LEN', 'D', { op: 'queueLen', key: '/q' }, '10 | 02 00.. 2f 71'],
  ['LIST_KEYS', 'D', { op: 'listKeys' }, '11'],
  ['BARRIER', 'D', { op: 'barrier', key: '/b3', worldSize: 2n }, '12 | 03 00.. 2f 62 33 | 02 00..'],
  ['a key in UTF-8', 'D', { op: 'get', key: '/ü' }, '03 | 03 00.. 2f c3 bc'],
];

t.test('T-001 requests are the bytes that torch sends', async t => {
  for (const [what, dialect, request, hex] of requests) {
    t.equal(encodeRequest(dialect, request).toString('hex'), bytes(hex).toString('hex'), what);
  }
});

t.test('T-099 each dialect has the operations of its releases', async t => {
  const count = (dialect: Dialect) =>
    new Set(requests.map(([, , { op }]) => op).filter(op => numberOf(dialect, op) !== undefined))
      .size;

  t.same([count('A'), count('B'), count('D')], [8, 12, 19]);
  t.throws(() => encodeRequest('A', { op: 'listKeys' }), /dialect A has no listKeys/);
});

const replies: readonly [
  what: string,
  reading: () => Reading<unknown>,
  hex: string,
  reply: unknown,
][] = [
  ['a value', () => readValue(limits), '01 00.. 76', text('v')],
  ['an empty value', () => readValue(limits), '00 00..', text('')],
  ['a negative sum', readI64, 'fe ff ff ff ff ff ff ff', -2n],
  ['a count', readCount, '0e 00..', 14],
  ['all there', readPresence, '00', true],
  ['not all there', readPresence, '01', false],
  [
    'two values',
    () => readValues(2, limits),
    '03 00.. 6f 6e 65 03 00.. 74 77 6f',
    [text('one'), text('two')],
  ],
  ['popped', () => readPopped(limits), '02 00.. | 02 00.. 65 31', text('e1')],
  [
    'keys',
    () => readKeys(limits),
    '02 00.. | 03 00.. 2f 61 31 | 05 00.. 69 6e 69 74 2f',
    ['/a1', 'init/'],
  ],
  ['an echo', () => readNonce(0x71e7), 'e7 71 00 00', undefined],
  ['released', () => readRelease(() => false), '00', 'released'],
  ['T-097 cancelled', () => readRelease(() => true), '01', 'cancelled'],
  ['T-036 T-097 released and cancelled', () => readRelease(() => true), '00 01', 'cancelled'],
];

t.test('replies are read alike, byte by byte and at once', async t => {
  for (const [what, reading, hex, value] of replies) {
    for (const portion of [1, 3, 64]) {
      t.same(read(reading(), bytes(hex), portion), { value, left: 0 }, what);
    }
  }
});

const refused: readonly [what: string, reading: () => Reading<unknown>, hex: string][] = [
  ['a value over the limit', () => readValue(limits), 'e9 03 00 00 00 00 00 00'],
  ['a value of 2⁶⁴ − 1 bytes', () => readValue(limits), 'ff ff ff ff ff ff ff ff'],
  ['a negative count', readCount, 'ff ff ff ff ff ff ff ff'],
  ['too many keys', () => readKeys(limits), '0b 00..'],
  ['an unknown status', readPresence, '02'],
  ['a cancellation that nobody asked for', () => readRelease(() => false), '01'],
  ['a release that is confirmed twice', () => readRelease(() => true), '00 00'],
  ['the echo of something else', () => readNonce(1), '02 00 00 00'],
];

t.test('what no store would send is refused as soon as it is read', async t => {
  for (const [what, reading, hex] of refused) {
    t.throws(() => read(reading(), bytes(hex)), MalformedReply, what);
  }
});

t.test('any bytes are a reply, not yet one, or malformed', async t => {
  const readings = fc.constantFrom(...replies.map(([, reading]) => reading));
  const property = fc.property(
    fc.uint8Array(),
    readings,
    fc.integer({ min: 1, max: 9 }),
    (input, reading, portion) => {
      try {
        read(reading(), input, portion);
      } catch (error) {
        if (!(error instanceof MalformedReply)) throw error;
      }
    },
  );

  t.doesNotThrow(() => fc.assert(property));
});
