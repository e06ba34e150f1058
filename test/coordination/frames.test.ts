import fc from 'fast-check';
import t from 'tap';
import {
  bytesAfter,
  decodeFrame,
  encodeFrame,
  type FrameRequest,
  MalformedFrame,
} from '../../lib/coordination/frames.js';

// The bytes of a frame are written down here as native/core/coordination/frames.h has them; what the two make of each
// other is shown by server.test.ts.

const hex = (bytes: Buffer) => bytes.toString('hex').replaceAll(/(..)(?=.)/g, '$1 ');
const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

t.test('requests have the bytes that the protocol says', async t => {
  for (const [request, expected] of [
    [{ ask: 'hello' }, '07 00 00 00 01 02 01 00 00 02 00'],
    [{ ask: 'get', prefix: 'é' }, '0b 00 00 00 02 02 01 00 00 02 00 00 00 c3 a9'],
    [{ ask: 'grant', ttlMs: 4999.5 }, '09 00 00 00 04 02 01 00 00 88 13 00 00'],
    [
      { ask: 'renew', lease: 'f000000000000001' },
      '0d 00 00 00 05 02 01 00 00 01 00 00 00 00 00 00 f0',
    ],
    [{ ask: 'unwatch', watch: 3 }, '09 00 00 00 08 02 01 00 00 03 00 00 00'],
    [{ ask: 'goodbye' }, '05 00 00 00 09 02 01 00 00'],
    [
      { ask: 'proof', nonce: Buffer.from([1, 2]), proof: Buffer.from([255]) },
      '10 00 00 00 0a 02 01 00 00 02 00 00 00 01 02 01 00 00 00 ff',
    ],
    [
      { ask: 'watch', prefix: '', from: 2 ** 40 },
      '11 00 00 00 07 02 01 00 00 00 00 00 00 00 00 00 00 00 01 00 00',
    ],
    [
      {
        ask: 'txn',
        compares: [
          { key: 'a', is: 'absent' },
          { key: 'b', modified: 7 },
        ],
        changes: [{ put: 'a', value: 'x' }, { delete: 'b' }],
      },
      '36 00 00 00 03 02 01 00 00 02 00 00 01 00 00 00 61 01 01 00 00 00 62 07 00 00 00 00 00 00 00 ' +
        '02 00 01 01 00 00 00 61 01 00 00 00 78 00 00 00 00 00 00 00 00 02 01 00 00 00 62',
    ],
  ] satisfies [FrameRequest, string][]) {
    t.equal(hex(encodeFrame(258, request)), expected, request.ask);
  }
});

t.test('answers are read as the protocol says', async t => {
  const entry = '01 00 00 00 61 00 00 00 00 02 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00';
  for (const [frame, expected] of [
    [
      '81 02 01 00 00 01 00 ef 00 00 00 00 00 00 80',
      { type: 'welcome', version: 1, incarnation: '80000000000000ef', address: '' },
    ],
    [
      '81 02 01 00 00 01 00 ef 00 00 00 00 00 00 80 03 00 00 00 61 3a 31',
      { type: 'welcome', version: 1, incarnation: '80000000000000ef', address: 'a:1' },
    ],
    [
      '81 02 01 00 00 01 00 ef 00 00 00 00 00 00 80 00 00 00 00 02 00 00 00 ff 00 99', // later versions may say more
      {
        type: 'welcome',
        version: 1,
        incarnation: '80000000000000ef',
        address: '',
        nonce: Buffer.from([255, 0]),
      },
    ],
    ['87 02 01 00 00 01 00 00 00 ff', { type: 'proved', proof: Buffer.from([255]) }],
    ['8f 02 01 00 00 07', { type: 'refused', why: 'wrong-token' }],
    [
      `82 02 01 00 00 09 00 00 00 00 00 00 00 01 00 00 00 ${entry} 00 00 00 00 00 00 00 00`,
      { type: 'entries', revision: 9, entries: [{ key: 'a', value: '', created: 2, modified: 3 }] },
    ],
    [
      `86 02 01 00 00 02 00 00 00 01 ${entry} 0a 00 00 00 00 00 00 00 02 01 00 00 00 62 04 00 00 00 00 00 00 00`,
      {
        type: 'changed',
        events: [
          { type: 'put', entry: { key: 'a', value: '', created: 2, modified: 3, lease: 'a' } },
          { type: 'delete', key: 'b', modified: 4 },
        ],
      },
    ],
    ['85 02 01 00 00', { type: 'ok' }],
    ['8f 02 01 00 00 05', { type: 'refused', why: 'compacted' }],
  ] as const) {
    t.same(decodeFrame(bytes(frame)), { id: 258, answer: expected }, expected.type);
  }
});

t.test('what is no answer is refused', async t => {
  for (const frame of [
    '85 02 01 00 00 01', // too long
    '84 02 01 00 00 01', // too short
    '82 02 01 00 00 00 00 00 00 00 00 00 00 ff ff ff ff', // more entries than bytes
    '82 02 01 00 00 ff ff ff ff ff ff ff ff 00 00 00 00', // no revision
    '86 02 01 00 00 01 00 00 00 03', // no kind of change
    '8f 02 01 00 00 00', // no reason
    '8f 02 01 00 00 63',
    '87 02 01 00 00 02 00 00 00 01', // less than it says
    '07 02 01 00 00', // a request
  ]) {
    t.throws(() => decodeFrame(bytes(frame)), MalformedFrame, frame);
  }
  for (const length of ['00 00 00 00', '04 00 00 00', 'ff ff ff ff', '48 54 54 50']) {
    t.throws(() => bytesAfter(bytes(length)), MalformedFrame, length);
  }
  t.equal(bytesAfter(bytes('05 00 00 00')), 5);
  t.throws(() => bytesAfter(bytes('01 04 00 00'), 1024), MalformedFrame);
});

t.test('any bytes at all are an answer or refused', async t => {
  const anyFrame = fc
    .tuple(
      fc.constantFrom(0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x8f),
      fc.uint8Array({ maxLength: 80 }),
    )
    .map(([type, body]) => Buffer.from([type, 1, 0, 0, 0, ...body]));
  let refused = 0;
  fc.assert(
    fc.property(anyFrame, frame => {
      try {
        decodeFrame(frame);
      } catch (error) {
        if (!(error instanceof MalformedFrame)) throw error;
        refused++;
      }
    }),
    { numRuns: 2000 },
  );
  t.ok(refused > 0);
});
