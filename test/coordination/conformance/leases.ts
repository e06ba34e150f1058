import { setTimeout as pause } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Entry } from '../../../lib/coordination/coordination.js';
import { record, revisionOf, textOf } from '../recorder.js';
import { type Begin, codeOf } from './begin.js';

export async function leases(t: Test, begin: Begin): Promise<void> {
  t.test('an engine grants at least what was asked for', { buffered: true }, async t => {
    const { c } = await begin(t);
    for (const ttlMs of [1, 1500, 60_000]) {
      const lease = await c.lease(ttlMs);
      t.ok(lease.ttlMs >= ttlMs);
      await lease.revoke();
    }
    t.equal(await codeOf(() => c.lease(0)), 'INVALID');
    t.equal(await codeOf(() => c.lease(Number.NaN)), 'INVALID');
  });

  t.test(
    'entries name their lease, until they are put without or deleted',
    { buffered: true },
    async t => {
      const { c, at } = await begin(t);
      const lease = await c.lease(60_000);
      await c.put(`${at}a`, '1', lease);
      await c.txn([], [{ put: `${at}b`, value: '1', lease }]);
      t.match((await c.get(at)).entries, [{ lease: lease.id }, { lease: lease.id }]);

      await c.put(`${at}a`, '2');
      const { entries } = await c.get(at);
      await lease.revoke();

      t.notOk('lease' in (entries[0] as Entry));
      t.match((await c.get(at)).entries, [{ key: `${at}a`, value: '2' }]);
    },
  );

  t.test(
    'one that nobody renews ends with all its keys, in one revision, which is told',
    async t => {
      const { c, at } = await begin(t);
      const from = (await c.get(at)).revision + 1;
      const lease = await c.lease(4_000);
      const watch = record(c, at, from);
      const kept = await c.lease(60_000);
      await c.put(`${at}kept`, '', kept);
      await c.txn(
        [],
        ['1', '2', '3'].map(name => ({ put: at + name, value: '', lease })),
      );
      await watch.told(`put ${at}3=`);
      const before = watch.events.length;

      await watch.told(`delete ${at}3`);

      const deleted = watch.events.slice(before);
      t.strictSame(
        deleted.map(textOf).sort(),
        ['1', '2', '3'].map(name => `delete ${at}${name}`),
      );
      t.equal(new Set(deleted.map(revisionOf)).size, 1);
      t.equal(watch.batches.at(-1)?.length, 3);
      t.match((await c.get(at)).entries, [{ key: `${at}kept` }]);
      await t.rejects(lease.renew(), { code: 'LEASE_LOST', isUncertain: false });
      await t.rejects(lease.renew(), { code: 'LEASE_LOST' });
      await lease.revoke();
      await kept.revoke();
    },
  );

  t.test('one that is renewed lives on', { buffered: true }, async t => {
    const { c, at } = await begin(t);
    const renewed = await c.lease(3000);
    const forgotten = await c.lease(3000);
    const watch = record(c, at, (await c.get(at)).revision + 1);
    await c.put(`${at}renewed`, '', renewed);
    await c.put(`${at}forgotten`, '', forgotten);

    // The end of the other shows that its own time would have been over.
    const over = watch.told(`delete ${at}forgotten`).then(() => 'over');
    const soon = () => pause(renewed.ttlMs / 10, 'soon');
    do await renewed.renew();
    while ((await Promise.race([over, soon()])) !== 'over');

    t.match((await c.get(at)).entries, [{ key: `${at}renewed` }]);
    await renewed.revoke();
  });

  t.test(
    'what is bound to a revoked one goes, and nothing can be bound to it',
    { buffered: true },
    async t => {
      const { c, at } = await begin(t);
      const lease = await c.lease(60_000);
      await c.put(`${at}a`, '', lease);

      await lease.revoke();

      t.strictSame((await c.get(at)).entries, []);
      await t.rejects(c.put(`${at}a`, '', lease), { code: 'LEASE_LOST', isUncertain: false });
      const change = { put: `${at}a`, value: '', lease };
      await t.rejects(c.txn([], [{ put: `${at}b`, value: '' }, change]), { code: 'LEASE_LOST' });
      await t.rejects(lease.renew(), { code: 'LEASE_LOST' });
      await lease.revoke();
      t.strictSame((await c.get(at)).entries, []);
    },
  );

  t.test('it outlives the client that asked for it', { buffered: true }, async t => {
    const { c, at } = await begin(t);
    const { c: d } = await begin(t);
    const lease = await d.lease(60_000);
    await d.put(at, '', lease);

    await d.close();

    t.match((await c.get(at)).entries, [{ lease: lease.id }]);
  });
}
