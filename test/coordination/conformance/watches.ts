import type { Test } from 'tap';
import { record, revisionOf, textOf } from '../recorder.js';
import { type Begin, codeOf } from './begin.js';

export async function watches(t: Test, begin: Begin): Promise<void> {
  t.test('a watch tells of each change, in order, with what it has made', async t => {
    const { c, at } = await begin(t);
    const watch = record(c, at, (await c.get(at)).revision + 1);

    const created = await c.put(`${at}a`, '1');
    const modified = await c.put(`${at}a`, '2');
    const { revision } = await c.txn([], [{ delete: `${at}a` }]);
    await watch.told(revision);

    t.strictSame(watch.events, [
      { type: 'put', entry: { key: `${at}a`, value: '1', created, modified: created } },
      { type: 'put', entry: { key: `${at}a`, value: '2', created, modified } },
      { type: 'delete', key: `${at}a`, modified: revision },
    ]);
  });

  t.test('what a transaction has changed is told at once', async t => {
    const { c, at } = await begin(t);
    await c.put(`${at}50`, '');
    const watch = record(c, at, (await c.get(at)).revision + 1);
    const names = Array.from({ length: 50 }, (_, index) => `${at}${100 + index}`);

    const puts = names.map(put => ({ put, value: 'x'.repeat(1000) }));
    const { revision } = await c.txn([], [...puts, { delete: `${at}50` }]);
    await watch.told(revision);

    t.equal(watch.batches.length, 1);
    t.ok(watch.events.every(event => revisionOf(event) === revision));
    t.strictSame(
      new Set(watch.events.map(textOf)),
      new Set([...puts.map(({ put, value }) => `put ${put}=${value}`), `delete ${at}50`]),
    );
  });

  t.test('changes that are made at once come one after the other', async t => {
    const { c, at } = await begin(t);
    const { c: d } = await begin(t);
    const watch = record(c, at, (await c.get(at)).revision + 1);

    const revisions = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        (index % 2 ? c : d).put(at + (index % 7), `${index}`),
      ),
    );
    await watch.told(Math.max(...revisions));

    const sorted = [...revisions].sort((a, b) => a - b);
    t.strictSame(watch.events.map(revisionOf), sorted);
  });

  t.test('a watch from an older revision tells all that came since', async t => {
    const { c, at } = await begin(t);
    const first = await c.put(`${at}a`, '1');
    const second = await c.put(`${at}a`, '2');
    await c.put(`${at}b`, '3');

    const all = record(c, at, first);
    const some = record(c, at, second);
    const last = await c.put(`${at}c`, '4');
    await Promise.all([all.told(last), some.told(last)]);

    const texts = [`put ${at}a=1`, `put ${at}a=2`, `put ${at}b=3`, `put ${at}c=4`];
    t.strictSame(all.events.map(textOf), texts);
    t.strictSame(some.events.map(textOf), texts.slice(1));
  });

  t.test('a watch from a revision to come waits for it', async t => {
    const { c, at } = await begin(t);
    const { revision } = await c.get(at);
    const now = record(c, at, revision + 1);
    const later = record(c, at, revision + 3);

    await c.put(at, '1');
    await c.put(at, '2');
    const third = await c.put(at, '3');
    await Promise.all([now.told(third), later.told(third)]);

    t.strictSame(
      later.events,
      now.events.filter(event => revisionOf(event) >= revision + 3),
    );
    t.ok(later.events.length > 0);
  });

  t.test('a watch sees its prefix and nothing beside it', async t => {
    const { c, at } = await begin(t);
    const { revision } = await c.get(at);
    const one = record(c, `${at}a/1`, revision + 1);
    const folder = record(c, `${at}a/`, revision + 1);

    const keys = ['a/', 'a/1', 'a', 'a/10', 'a0', 'a/2', 'a.', 'A/1'];
    for (const key of keys) await c.put(at + key, '');
    const last = await c.put(`${at}a/1`, 'last');
    await Promise.all([one.told(last), folder.told(last)]);

    const texts = (names: string[]) => names.map(name => `put ${at}${name}=`);
    t.strictSame(one.events.slice(0, -1).map(textOf), texts(['a/1', 'a/10']));
    t.strictSame(folder.events.slice(0, -1).map(textOf), texts(['a/', 'a/1', 'a/10', 'a/2']));
  });

  t.test('a watch of everything sees every key', async t => {
    const { c, at } = await begin(t);
    const watch = record(c, '', (await c.get('')).revision + 1);

    await c.put(at, 'x');

    await watch.told(`put ${at}=x`);
    t.equal(await codeOf(() => c.watch(at, 0, { changed() {}, ended() {} })), 'INVALID');
  });

  t.test('a watch that is closed tells nothing more, not even what it has at hand', async t => {
    const { c, at } = await begin(t);
    const from = await c.put(at, '1');
    await c.put(at, '2');
    let calls = 0;
    const watch = c.watch(at, from, {
      changed() {
        calls++;
        watch.close();
        watch.close();
      },
      ended: error => t.fail(error.message),
    });
    const other = record(c, at, from);

    const last = await c.put(at, '3');
    await other.told(last);
    // A stream that begins later has told as well, by now.
    await record(c, at, from).told(last);

    t.equal(calls, 1);
    const unheard = record(c, at, from);
    unheard.close();
    await record(c, at, from).told(last);
    t.strictSame(unheard.events, []);
  });
}
