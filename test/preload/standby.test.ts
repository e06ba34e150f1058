import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  decodeMessages,
  encodeMessage,
  learningEnv,
  standbyEnv,
  standbyFolder,
} from '../../lib/preload/standby.js';

const order = encodeMessage([
  ['type', 'order'],
  ['env', 'A=1'],
  ['env', Buffer.from([0x42, 0x3d, 0xff])],
  ['empty', ''],
]);

t.test('a message is read as it was written, byte by byte', async t => {
  const decoded = decodeMessages(order);

  if (decoded === 'malformed') return t.fail(decoded);
  const [message] = decoded.messages;
  t.strictSame(
    [...(message ?? [])],
    [
      ['type', [Buffer.from('order')]],
      ['env', [Buffer.from('A=1'), Buffer.from([0x42, 0x3d, 0xff])]],
      ['empty', [Buffer.alloc(0)]],
    ],
  );
  t.equal(decoded.rest.length, 0);
});

t.test('what is cut off anywhere is waited for', async t => {
  const two = Buffer.concat([order, order]);
  for (let cut = 0; cut < two.length; cut++) {
    const decoded = decodeMessages(two.subarray(0, cut));

    if (decoded === 'malformed') return t.fail(`${cut} bytes`);
    t.equal(decoded.messages.length, cut < order.length ? 0 : 1);
    t.equal(decoded.rest.length, cut % order.length);
  }
});

t.test('lengths that cannot be are refused', async t => {
  const huge = Buffer.from([0xff, 0xff, 0xff, 0x7f]);
  const cases: readonly Buffer[] = [
    huge,
    Buffer.concat([Buffer.from([4, 0, 0, 0]), huge]),
    Buffer.from([2, 0, 0, 0, 0, 0]),
    // A key without a value.
    Buffer.from([5, 0, 0, 0, 1, 0, 0, 0, 0x61]),
  ];
  for (const bytes of cases) t.equal(decodeMessages(bytes), 'malformed', bytes.toString('hex'));
});

const record = { path: '/f', device: 5, inode: 6 };

t.test('the shim comes before what PYTHONPATH had', async t => {
  t.ok(existsSync(join(standbyFolder(), 'sitecustomize.py')));
  t.strictSame(standbyEnv('/a:/b', 7), {
    PYTHONPATH: `${standbyFolder()}:/a:/b`,
    REGROUP_STANDBY: '1:7',
  });
  t.equal(standbyEnv('', 3).PYTHONPATH, standbyFolder());
  t.equal(learningEnv(undefined, record, []).PYTHONPATH, standbyFolder());
  t.equal(learningEnv('/a', record, ['A', 'B,:', 'C']).REGROUP_LEARN, '5:6:A,C:/f');
});
