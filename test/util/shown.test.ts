import t from 'tap';
import { kindOf, shown } from '../../lib/util/shown.js';

const circle: Record<string, unknown> = {};
circle.self = circle;

t.test('F-F08: any value is shown in short, on one line, and without what is inside of it', t => {
  const cases: [value: unknown, text: string, kind: string][] = [
    ['x', '"x"', 'a text'],
    ['a\0b\n', '"a\\u0000b\\n"', 'a text with NUL'],
    ['x'.repeat(1000), `"${'x'.repeat(60)}…"`, 'a text'],
    [5, '5', 'a number'],
    [Number.NaN, 'NaN', 'a number'],
    [Number.POSITIVE_INFINITY, 'Infinity', 'a number'],
    [1n, '1n', 'a bigint'],
    [10n ** 100n, `1${'0'.repeat(59)}…`, 'a bigint'],
    [true, 'true', 'a boolean'],
    [undefined, 'undefined', 'undefined'],
    [null, 'null', 'null'],
    [Symbol('secret'), 'a symbol', 'a symbol'],
    [() => 'secret', 'a function', 'a function'],
    [['secret'], 'a list', 'a list'],
    [{ password: 'secret' }, 'an object', 'an object'],
    [circle, 'an object', 'an object'],
    [Object.create(null), 'an object', 'an object'],
  ];
  for (const [value, text, kind] of cases) {
    t.equal(shown(value), text);
    t.equal(kindOf(value), kind);
  }
  t.end();
});
