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
  const long = parseRequest(line.replace('train', 'x'.repeat(1000)));
  t.match(long?.scope, /^…x+\.py#42$/);
  t.equal(long?.scope.length, 256);
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
  const [one, three] = ['one', 'three ä'].map(text => `{${text.padEnd(50)}`);
  const bytes = Buffer.from(`${one}\n${three}\nrest`);
  for (let size = 1; size <= bytes.length; size++) {
    const { cut } = lineCutter();
    const lines: (string | undefined)[] = [];
    for (let at = 0; at < bytes.length; at += size)
      lines.push(...cut(bytes.subarray(at, at + size)));
    t.same(lines, [one, three], `in pieces of ${size}`);
  }
  t.end();
});

t.test('a line that is too long is told once, however long it is, and the next one counts', t => {
  const { cut } = lineCutter();
  const longest = `{${'x'.repeat(maxRequestBytes - 1)}`;
  const ok = `{${'y'.repeat(50)}`;

  t.same(cut(Buffer.from(`${longest}\n`)), [longest]);
  t.same(cut(Buffer.from(`${longest}y\n${ok}\n`)), [undefined, ok]);
  for (let i = 0; i < 100; i++) t.same(cut(Buffer.from(longest)), []);
  t.same(cut(Buffer.from(`end\n${ok}\n`)), [undefined, ok]);
  t.end();
});

t.test('lines that are no request at first sight are told once of each piece', t => {
  const { cut } = lineCutter();
  const ok = `{${'y'.repeat(50)}`;

  t.same(cut(Buffer.from('\n'.repeat(65_536))), [undefined]);
  t.same(cut(Buffer.from(`\n${ok}\n{}\n[${ok}\n${ok}\n`)), [undefined, ok, ok]);
  t.end();
});
