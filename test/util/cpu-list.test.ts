import fc from 'fast-check';
import t from 'tap';
import { formatList, maxListed, parseList } from '../../lib/util/cpu-list.js';

t.test('lists of the kernel are read, others are refused', async t => {
  t.same(parseList('0-2,4,6-7\n'), [0, 1, 2, 4, 6, 7]);
  t.same(parseList('\n'), []);
  t.same(parseList('0-15:2/8'), [0, 1, 8, 9]);
  for (const bad of ['3-1', '1,,2', 'a', '0-99999', '-1', '1-', '0-7:0/2', '0-7:3/2']) {
    t.equal(parseList(bad), undefined, bad);
  }
});

t.test('what is written is read back', async () => {
  const sets = fc.uniqueArray(fc.integer({ min: 0, max: maxListed - 1 }));
  fc.assert(
    fc.property(sets, numbers => {
      const sorted = numbers.sort((a, b) => a - b);
      return String(parseList(formatList(sorted))) === String(sorted);
    }),
  );
});

t.test('no text makes a list beyond the limit', async () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'0123456789-,:/ ') }), text =>
      (parseList(text) ?? []).every(
        each => Number.isInteger(each) && each >= 0 && each < maxListed,
      ),
    ),
  );
});
