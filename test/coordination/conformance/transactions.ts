import type { Test } from 'tap';
import type { Compare } from '../../../lib/coordination/coordination.js';
import { type Begin, codeOf } from './begin.js';

export async function transactions(t: Test, begin: Begin): Promise<void> {
  t.test('all comparisons hold: all changes are made, in one revision', async t => {
    const { c, at } = await begin(t);
    const modified = await c.put(`${at}a`, 'old');
    await c.put(`${at}b`, 'gone');

    const result = await c.txn(
      [
        { key: `${at}a`, modified },
        { key: `${at}a`, value: 'old' },
        { key: `${at}c`, is: 'absent' },
      ],
      [{ put: `${at}a`, value: 'new' }, { delete: `${at}b` }, { put: `${at}c`, value: '' }],
    );

    t.match(result, { isDone: true, entries: [] });
    t.strictSame((await c.get(at)).entries, [
      { key: `${at}a`, value: 'new', created: modified, modified: result.revision },
      { key: `${at}c`, value: '', created: result.revision, modified: result.revision },
    ]);
  });

  t.test(
    "one comparison doesn't hold: nothing is changed, and the compared keys are told",
    async t => {
      const { c, at } = await begin(t);
      const modified = await c.put(`${at}a`, '');
      const failing: Compare[] = [
        { key: `${at}a`, is: 'absent' },
        { key: `${at}a`, modified: modified - 1 },
        { key: `${at}a`, value: 'x' },
        { key: `${at}none`, value: '' },
        { key: `${at}none`, modified },
      ];
      for (const compare of failing) {
        const holding: Compare = { key: `${at}a`, value: '' };
        const result = await c.txn([holding, compare], [{ put: `${at}b`, value: '' }]);

        t.equal(result.isDone, false);
        t.ok(result.revision >= modified);
        t.strictSame(result.entries, [{ key: `${at}a`, value: '', created: modified, modified }]);
      }
      t.equal((await c.get(at)).entries.length, 1);
    },
  );

  t.test('without changes it only compares', async t => {
    const { c, at } = await begin(t);
    const { revision } = await c.get(at);

    t.match(await c.txn([{ key: at, is: 'absent' }], []), { isDone: true });
    t.match(await c.txn([{ key: at, value: '' }], []), { isDone: false, entries: [] });
    t.match(await c.txn([], [{ delete: at }]), { isDone: true });
    t.ok((await c.get(at)).revision >= revision);
  });

  t.test('a key that is changed twice is refused', async t => {
    const { c, at } = await begin(t);

    const twice = [{ put: at, value: '1' }, { delete: at }];
    t.equal(await codeOf(() => c.txn([], twice)), 'INVALID');
    t.equal(await codeOf(() => c.txn([{ key: '', is: 'absent' }], [])), 'INVALID');
  });

  t.test('of many who create a key one does, and all others see what it made', async t => {
    const { c, at } = await begin(t);
    const { c: d } = await begin(t);

    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 ? c : d).txn([{ key: at, is: 'absent' }], [{ put: at, value: `by ${index}` }]),
      ),
    );

    const winner = results.findIndex(({ isDone }) => isDone);
    const revision = results[winner]?.revision ?? 0;
    t.equal(results.filter(({ isDone }) => isDone).length, 1);
    const entry = { key: at, value: `by ${winner}`, created: revision, modified: revision };
    for (const { isDone, entries } of results) if (!isDone) t.strictSame(entries, [entry]);
  });
}
