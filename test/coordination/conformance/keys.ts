import type { Test } from 'tap';
import { type Begin, codeOf } from './begin.js';

export async function keys(t: Test, begin: Begin): Promise<void> {
  t.test('what was put is got, with the revisions of its first and its last change', async t => {
    const { c, at } = await begin(t);

    const first = await c.put(`${at}a`, '1');
    const second = await c.put(`${at}a`, '2');
    const other = await c.put(`${at}b`, '3');
    const snapshot = await c.get(at);

    t.ok(first < second && second < other);
    t.ok(snapshot.revision >= other);
    t.strictSame(snapshot.entries, [
      { key: `${at}a`, value: '2', created: first, modified: second },
      { key: `${at}b`, value: '3', created: other, modified: other },
    ]);
  });

  t.test('a key that is made again begins anew', async t => {
    const { c, at } = await begin(t);
    await c.put(at, '1');
    await c.txn([], [{ delete: at }]);

    const again = await c.put(at, '2');

    t.match((await c.get(at)).entries, [{ created: again, modified: again }]);
  });

  t.test('a prefix is no folder: it ends where the keys stop beginning with it', async t => {
    const { c, at } = await begin(t);
    for (const key of ['a', 'a/', 'a/1', 'a/10', 'a/2', 'a0', 'a.', 'b']) {
      await c.put(at + key, '');
    }
    const under = async (prefix: string) =>
      (await c.get(at + prefix)).entries.map(({ key }) => key.slice(at.length));

    t.strictSame(await under('a/1'), ['a/1', 'a/10']);
    t.strictSame(await under('a/'), ['a/', 'a/1', 'a/10', 'a/2']);
    t.strictSame(await under('a'), ['a', 'a.', 'a/', 'a/1', 'a/10', 'a/2', 'a0']);
    t.strictSame(await under('c'), []);
    const all = (await c.get('')).entries.map(({ key }) => key);
    t.ok(all.includes(`${at}b`));
  });

  t.test('any text can be a key and a value, even none as value', async t => {
    const { c, at } = await begin(t);
    const texts = ['', '\n', ' a b ', '\0', 'ünï', '日本', '🚀', '\uffff', '{"a":"b\\"}', '%2F+'];
    for (const text of texts) await c.put(`${at}k${text}`, text);

    const { entries } = await c.get(at);

    t.strictSame(
      new Map(entries.map(({ key, value }) => [key, value])),
      new Map(texts.map(text => [`${at}k${text}`, text])),
    );
    // By bytes: U+FFFF comes before the rocket, which JavaScript's order puts first.
    const sorted = [...entries].sort((a, b) =>
      Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)),
    );
    t.strictSame(entries, sorted);
  });

  t.test('no key, and half a character, are refused', async t => {
    const { c, at } = await begin(t);

    t.equal(await codeOf(() => c.put('', '')), 'INVALID');
    t.equal(await codeOf(() => c.put(`${at}\ud83d`, '')), 'INVALID');
    t.equal(await codeOf(() => c.put(at, '\ud83d')), 'INVALID');
    t.equal(await codeOf(() => c.get('\ud83d')), 'INVALID');
    t.strictSame((await c.get(at)).entries, []);
  });

  t.test('values of 100 kB, and 500 keys in one snapshot', async t => {
    const { c, at } = await begin(t);
    const large = 'ä'.repeat(50_000);
    await c.put(`${at}large`, large);
    const names = Array.from({ length: 500 }, (_, index) => `${at}many/${1000 + index}`);
    for (let i = 0; i < names.length; i += 100) {
      await c.txn(
        [],
        names.slice(i, i + 100).map(put => ({ put, value: put })),
      );
    }

    const { entries } = await c.get(at);

    t.equal(entries[0]?.value, large);
    t.strictSame(
      entries.slice(1).map(({ key }) => key),
      names,
    );
    t.ok(entries.slice(1).every(({ key, value }) => key === value));
  });
}
