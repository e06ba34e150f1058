import type { Test } from 'tap';
import type { EngineUnderTest } from '../conformance.js';
import { record, textOf } from '../recorder.js';
import { type Begin, codeOf } from './begin.js';

export async function failures(t: Test, begin: Begin, engine: EngineUnderTest): Promise<void> {
  t.test('after close() nothing is done and nothing is told', async t => {
    const { c, at } = await begin(t);
    const { c: d } = await begin(t);
    const from = (await c.get(at)).revision + 1;
    const lease = await c.lease(60_000);
    const watch = record(c, at, from);
    void watch.ended.then(error => t.fail(error.message));
    await c.put(at, '1', lease);
    await watch.told(`put ${at}=1`);

    const underWay = [
      codeOf(() => c.get(at)),
      codeOf(() => c.put(`${at}maybe`, '')),
      codeOf(() => lease.renew()),
    ];
    await c.close();
    await c.close();

    t.strictSame(await Promise.all(underWay), ['CLOSED', 'CLOSED', 'CLOSED']);
    for (const late of [
      () => c.get(at),
      () => c.put(at, ''),
      () => c.txn([], []),
      () => c.lease(60_000),
      () => c.watch(at, from, { changed() {}, ended() {} }),
      () => lease.renew(),
    ]) {
      t.equal(await codeOf(late), 'CLOSED');
    }
    const other = record(d, at, from);
    const last = await d.put(at, '2');
    await other.told(last);
    t.strictSame(watch.events.map(textOf), [`put ${at}=1`]);
  });

  t.test('a watch outlives the connections that it had', lacks(engine.restart), async t => {
    const { c, at } = await begin(t);
    const watch = record(c, at, (await c.get(at)).revision + 1);
    await c.put(at, '1');
    await watch.told(`put ${at}=1`);

    await engine.restart?.();
    const { c: d } = await begin(t);
    await d.put(at, '2');
    await watch.told(`put ${at}=2`);
    await engine.restart?.();
    const { c: e } = await begin(t);
    await e.put(at, '3');
    await watch.told(`put ${at}=3`);

    t.strictSame(
      watch.events.map(textOf),
      ['1', '2', '3'].map(value => `put ${at}=${value}`),
    );
    t.match((await c.get(at)).entries, [{ value: '3' }]);
  });

  t.test('leases outlive a restart of the engine', lacks(engine.restart), async t => {
    const { c, at } = await begin(t);
    const lease = await c.lease(60_000);
    await c.put(at, '', lease);

    await engine.restart?.();
    const { c: d } = await begin(t);

    t.match((await d.get(at)).entries, [{ lease: lease.id }]);
    await lease.renew();
    await lease.revoke();
    t.strictSame((await d.get(at)).entries, []);
  });

  t.test('a watch of what was forgotten ends, and says so', lacks(engine.compact), async t => {
    const { c, at } = await begin(t);
    const first = await c.put(at, '1');
    const second = await c.put(at, '2');
    const third = await c.put(at, '3');
    const before = record(c, at, second + 1);
    await before.told(third);

    await engine.compact?.(third);

    const error = await record(c, at, first).ended;
    t.match(error, { code: 'COMPACTED', isUncertain: false });
    // One that has told all of it goes on, and what is left can be watched.
    const after = record(c, at, third);
    const last = await c.put(at, '4');
    await Promise.all([before.told(last), after.told(last)]);
    t.strictSame(after.events.map(textOf), [`put ${at}=3`, `put ${at}=4`]);
  });

  t.test('who is frozen is left', lacks(engine.freeze), async t => {
    const { c, at } = await begin(t);
    const watch = record(c, at, (await c.get(at)).revision + 1);
    await c.put(at, '1');
    await watch.told(`put ${at}=1`);

    t.teardown(() => engine.thaw?.());
    await engine.freeze?.();
    // Reading harms nobody, whoever answers, or nobody in time.
    const read = await codeOf(() => c.get(at));
    t.ok(['none', 'TIMEOUT', 'UNAVAILABLE'].includes(read), read);
    engine.thaw?.();
    const { c: d } = await begin(t);
    const last = await d.put(at, '2');
    await watch.told(last);

    t.strictSame(watch.events.map(textOf), [`put ${at}=1`, `put ${at}=2`]);
  });
}

function lacks(hook: unknown): { skip: string | false } {
  return { skip: hook === undefined && 'this engine cannot be treated so' };
}
