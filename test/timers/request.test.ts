import t from 'tap';
import { lineCutter, maxRequestBytes, parseRequest } from '../../lib/timers/request.js';

t.test("L-097 a request of PyTorch's clients is understood", t => {
  const line =
    '{"version": 1, "pid": 4880, "scope_id": "train.py#42", "expiration_time": 1795349893.5, "signal": 9}';

  t.same(parseRequest(line), {
    pid: 4880,
    scope: 'train.py#42',
    expiresAtMs: 1_795_349_893_500,
    signal: 9,
  });
  t.equal(parseRequest(line.replace('1795349893.5', '-1'))?.expiresAtMs, -1000);
  t.end();
});

t.test('L-097 what no client writes is no request', t => {
  const good = { version: 1, pid: 1, scope_id: 's', expiration_time: 1, signal: 9 };
  const wrong: unknown[] = [
    '',
    '{',
    'null',
    '[]',
    '"x"',
    '1',
    'NaN',
    { ...good, pid: '1' },
    { ...good, pid: 0 },
    { ...good, pid: -1 },
    { ...good, pid: 1.5 },
    { ...good, pid: 2 ** 40 },
    { ...good, scope_id: 7 },
    { ...good, scope_id: null },
    { ...good, expiration_time: '1' },
    { ...good, expiration_time: null },
    { ...good, signal: '9' },
    { ...good, signal: 9.5 },
    { ...good, signal: 65 },
    { pid: 1 },
  ];

  t.ok(parseRequest(JSON.stringify(good)));
  for (const each of wrong) {
    const line = typeof each === 'string' ? each : JSON.stringify(each);
    t.equal(parseRequest(line), undefined, line);
  }
  t.equal(parseRequest('{"__proto__": {"pid": 1}}'), undefined);
  t.end();
});

t.test('lines are cut wherever the pieces end', t => {
  const bytes = Buffer.from('one\n\nthree ä\nrest');
  for (let size = 1; size <= bytes.length; size++) {
    const { cut } = lineCutter();
    const lines: (string | undefined)[] = [];
    for (let at = 0; at < bytes.length; at += size)
      lines.push(...cut(bytes.subarray(at, at + size)));
    t.same(lines, ['one', '', 'three ä'], `in pieces of ${size}`);
  }
  t.end();
});

t.test('a line that is too long is told once, however long it is, and the next one counts', t => {
  const { cut } = lineCutter();
  const longest = 'x'.repeat(maxRequestBytes);

  t.same(cut(Buffer.from(`${longest}\n`)), [longest]);
  t.same(cut(Buffer.from(`${longest}y\nok\n`)), [undefined, 'ok']);
  for (let i = 0; i < 100; i++) t.same(cut(Buffer.from(longest)), []);
  t.same(cut(Buffer.from('end\nok\n')), [undefined, 'ok']);
  t.end();
});
