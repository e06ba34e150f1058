import t, { type Test } from 'tap';
import { connectStore } from '../../lib/store/client.js';
import type { StoreClient } from '../../lib/store/store.js';
import type { Dialect } from '../../lib/store/wire.js';
import { type Served, serveStore } from '../harness.js';

/** Closed with the test. */
async function connected(
  t: Test,
  { host, port }: Served,
  options: { dialect?: Dialect; countAsWorker?: boolean; maxValueBytes?: number } = {},
): Promise<StoreClient> {
  const client = await connectStore({ host, port, timeoutMs: 60_000, ...options });
  t.teardown(() => client.close());
  return client;
}

const texts = (values: readonly Buffer[]) => values.map(String);

for (const dialect of ['A', 'B', 'D'] as const) {
  t.test(`T-099 the operations that dialect ${dialect} has`, async t => {
    const store = await connected(t, await serveStore(t), { dialect });

    t.equal(store.dialect, dialect);
    await store.set('k', 'v');
    t.equal(String(await store.get('k')), 'v');
    t.equal(await store.add('n', 5), 5n);
    t.equal(await store.add('n', -7n), -2n);
    t.equal(String(await store.get('n')), '-2');
    t.equal(String(await store.compareSet('c', '', 'new')), 'new');
    t.equal(String(await store.compareSet('c', 'old', 'newer')), 'new');
    t.equal(String(await store.compareSet('missing', 'x', 'y')), 'x');
    t.strictSame([await store.check('k'), await store.check(['k', 'no'])], [true, false]);
    await store.wait(['k', 'n']);
    t.equal(await store.numKeys(), 3);
    t.strictSame([await store.deleteKey('k'), await store.deleteKey('k')], [true, false]);
    await store.ping();
  });
}

for (const dialect of ['B', 'D'] as const) {
  t.test(`T-039 T-040 T-041 what 2.1 added, in dialect ${dialect}`, async t => {
    const store = await connected(t, await serveStore(t), { dialect });

    await store.append('a', 'foo');
    await store.append('a', 'bar');
    await store.multiSet(
      new Map([
        ['m1', 'one'],
        ['m2', ''],
      ]),
    );
    t.strictSame(texts(await store.multiGet(['m2', 'a', 'm1'])), ['', 'foobar', 'one']);
    t.strictSame(await store.multiGet([]), []);
  });
}

t.test('T-047 T-048 T-049 queues, and a pop that waits', async t => {
  const store = await connected(t, await serveStore(t));

  t.equal(await store.queuePop('q', { block: false }), undefined);
  await store.queuePush('q', 'e1');
  await store.queuePush('q', 'e2');
  t.equal(await store.queueLen('q'), 2);
  t.equal(String(await store.queuePop('q')), 'e1');
  t.equal(String(await store.queuePop('q', { block: false })), 'e2');
  const waiting = [store.queuePop('q'), store.queuePop('q')];
  await store.queuePush('q', 'e3');
  await store.queuePush('q', 'e4');
  t.strictSame(texts(await Promise.all(waiting)).sort(), ['e3', 'e4']);
});

t.test('T-054 a barrier, bare and under a prefix', async t => {
  const served = await serveStore(t);
  const one = await connected(t, served);
  const other = await connected(t, served);

  await Promise.all([one.barrier('b', 3), one.barrier('b', 3), other.barrier('b', 3)]);
  const [here, there] = [one.prefix('p'), other.prefix('p')];
  await Promise.all([here.barrier('b', 2), there.barrier('b', 2)]);
  t.strictSame((await here.listKeys()).sort(), ['b/last_member', 'b/num_members']);
  await t.rejects(one.barrier('late', 2, { timeoutMs: 1 }), { code: 'ERR_STORE_TIMEOUT' });
  t.equal(String(await one.get('late')), '1', 'who timed out stays counted');
});

t.test('T-005 T-006 keys on the wire, and init/', async t => {
  const served = await serveStore(t);
  const store = await connected(t, served, { countAsWorker: true });
  const nested = store.prefix('inner').prefix('outer');
  await nested.set('x', '1');
  await store.set('outer', '2');

  t.strictSame((await store.listKeys()).sort(), ['inner/outer/x', 'outer']);
  t.strictSame(await nested.listKeys(), ['x']);
  t.strictSame(await store.prefix('inner/out').listKeys(), []);
  t.equal(String(await store.get('inner/outer/x')), '1');
  t.equal(await store.numKeys(), 3, 'init/ is the third');
  t.equal(await (await connected(t, served)).numKeys(), 3, 'T-073 it counts whoever asks for it');
});

t.test('T-003 values are any bytes', async t => {
  const store = await connected(t, await serveStore(t));
  const values = [Buffer.alloc(0), Buffer.from([0, 255, 0]), Buffer.alloc(3 << 20, 7)];

  for (const value of values) {
    await store.set('', value);
    t.ok(value.equals(await store.get('')), `${value.length} bytes`);
  }
  await store.set('ü', new Uint8Array([1]));
  t.strictSame((await store.listKeys()).sort(), ['', 'ü']);
});

t.test('calls are pipelined, and answered in their order', async t => {
  const store = await connected(t, await serveStore(t));
  const sums = await Promise.all(Array.from({ length: 1_000 }, () => store.add('n', 1)));

  t.strictSame(
    sums,
    Array.from({ length: 1_000 }, (_, i) => BigInt(i + 1)),
  );
});

t.test("in dialect A nothing follows a deleteKey before it's answered", async t => {
  const store = await connected(t, await serveStore(t), { dialect: 'A' });
  await store.set('a', '1');
  await store.set('b', '2');
  const calls = [
    store.deleteKey('a'),
    store.deleteKey('b'),
    store.add('n', 1),
    store.deleteKey('n'),
  ];

  t.strictSame(await Promise.all(calls), [true, true, 1n, true]);
});

t.test('a wait holds up no other call of the same client', async t => {
  const store = await connected(t, await serveStore(t));
  const waits = [store.wait(['k', 'late']), store.get('k'), store.multiGet(['late', 'k'])] as const;
  await store.set('late', '1');
  await store.set('k', '2');

  const [, value, both] = await Promise.all(waits);
  t.equal(String(value), '2');
  t.strictSame(both?.map(String), ['1', '2']);
});

for (const dialect of ['A', 'B', 'D'] as const) {
  t.test(
    `T-097 what follows a wait that was given up is in step, in dialect ${dialect}`,
    async t => {
      const served = await serveStore(t);
      const store = await connected(t, served, { dialect });
      const other = await connected(t, served);

      await t.rejects(store.get('never', { timeoutMs: 1 }), {
        code: 'ERR_STORE_TIMEOUT',
        message: /^get of \/never timed out after \d+ ms at the store 127\.0\.0\.1:\d+$/,
      });
      const reason = new Error('never mind');
      await t.rejects(store.wait('never', { signal: AbortSignal.abort(reason) }), reason);
      for (let i = 0; i < 50; i++) {
        const controller = new AbortController();
        const wait = store.wait(`late ${i}`, { signal: controller.signal });
        // Its release and its cancellation are on their way at once, in either order.
        const release = other.set(`late ${i}`, '1');
        if (i % 2 === 0) await release;
        controller.abort(reason);
        await Promise.allSettled([wait, release]);
        t.equal(String(await store.get(`late ${i}`)), '1');
      }
      const waiting = store.get('later');
      await other.set('later', 'on a kept connection');
      t.equal(String(await waiting), 'on a kept connection');
    },
  );
}

t.test('one signal may end any number of calls', async t => {
  const store = await connected(t, await serveStore(t));
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.removeListener('warning', onWarning));

  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 30 }, (_, i) => store.wait(`k${i}`, { signal }));
  await store.set('k', 'v', { signal });
  controller.abort(new Error('all of them'));

  for (const { status, ...rest } of await Promise.allSettled(waits)) {
    t.equal(status, 'rejected');
    t.match(rest, { reason: { message: 'all of them' } });
  }
  t.strictSame(warnings, [], 'Node warns of nothing');
});

t.test(
  'T-026 an add to what is no number has an unknown outcome, and breaks nothing else',
  async t => {
    const store = await connected(t, await serveStore(t));
    await store.set('k', 'text');

    await t.rejects(store.add('k', 1), { code: 'ERR_STORE_OUTCOME_UNKNOWN' });
    t.equal(String(await store.get('k')), 'text');
  },
);

t.test('an operation that the dialect lacks is refused, and the connection goes on', async t => {
  const store = await connected(t, await serveStore(t), { dialect: 'A' });

  const calls: readonly (() => Promise<unknown>)[] = [
    () => store.append('k', 'v'),
    () => store.multiGet(['k']),
    () => store.multiSet([['k', 'v']]),
    () => store.queuePush('k', 'v'),
    () => store.queueLen('k'),
    () => store.listKeys(),
    () => store.barrier('k', 1),
  ];
  for (const call of calls) {
    await t.rejects(call(), { code: 'ERR_STORE_UNSUPPORTED', message: /speaks dialect A/ });
  }
  await store.prefix('p').barrier('k', 1);
  t.equal(await store.add('n', 1), 1n);
});

t.test('arguments that make no sense are refused', async t => {
  const store = await connected(t, await serveStore(t));
  const { host, port } = store;

  const calls: readonly (() => Promise<unknown>)[] = [
    () => store.add('n', 1.5),
    () => store.add('n', 2n ** 63n),
    () => store.barrier('b', Number.NaN),
    () => store.get('k', { timeoutMs: -1 }),
    () => connectStore({ host: '', port }),
    () => connectStore({ host, port: 0 }),
    () => connectStore({ host, port, maxValueBytes: -1 }),
    () => connectStore({ host, port, timeoutMs: Number.NaN }),
  ];
  for (const call of calls) {
    await t.rejects(call(), { code: 'ERR_OPTION' });
  }
});

t.test('close() ends what runs and refuses what comes', async t => {
  const store = await connected(t, await serveStore(t));
  const running = [store.wait('never'), store.get('never'), store.queuePop('never')];
  await store.set('k', 'v');
  const settled = Promise.allSettled(running);
  await Promise.all([store.close(), store[Symbol.asyncDispose]()]);

  for (const { status, ...rest } of await settled) {
    t.equal(status, 'rejected');
    t.match(rest, { reason: { code: 'ERR_STORE_CLOSED' } });
  }
  await t.rejects(store.check('k'), { code: 'ERR_STORE_CLOSED' });
});
