import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { native } from '../../lib/native/addon.js';
import { connectStore } from '../../lib/store/client.js';
import { openSharedStore } from '../../lib/store/shared.js';

function serve(t: Test, options: { sharedMemory?: boolean; disable?: string[] } = {}) {
  const { sharedMemory = true, disable = [] } = options;
  const lines: string[] = [];
  const store = native().createStore({ disable, sharedMemory, keptDescriptors: 0 }, report => {
    if (report.report === 'line') lines.push(report.line);
  });
  t.teardown(() => store.close());
  const address = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  return { store, lines, ...address };
}

t.test('what a client stores over TCP is read from shared memory', async t => {
  for (const disable of [[], ['seal-future-write']]) {
    const { port, local, store, table } = serve(t, { disable });
    await using client = await connectStore({ host: '127.0.0.1', port });
    await client.set('early', 'bird');
    using shared = openSharedStore(local);

    t.same(shared.get('early'), Buffer.from('bird'));
    t.equal(shared.get('late'), 'absent');
    await client.set('late', Buffer.alloc(100_000, 7));
    t.same(shared.get('late'), Buffer.alloc(100_000, 7));
    await client.set('late', '');
    t.same(shared.get('late'), Buffer.alloc(0));
    await client.deleteKey('late');
    t.equal(shared.get('late'), 'absent');
    await client.set('large', Buffer.alloc((1 << 20) + 1));
    t.equal(shared.get('large'), 'unknown');
    t.equal(store.stats(table).lanes, 1);
  }
});

t.test('the word of the server is seen by its readers, soon, until the table is reset', async t => {
  const { store, table, local } = serve(t);
  using shared = openSharedStore(local);

  t.equal(shared.notice(), 0);
  store.setNotice(table, 3);
  // Left to the store's thread, which nobody waits for.
  while (shared.notice() === 0) await nextTurn();
  t.equal(shared.notice(), 3);
  store.resetTable(table);
  t.equal(shared.get('any'), 'unknown');
  using next = openSharedStore(local);
  t.equal(next.notice(), 0);
  t.equal(next.get('any'), 'absent');
});

t.test('a store that is closed knows nothing', async t => {
  const { store, local } = serve(t);
  const shared = openSharedStore(local);
  store.close();
  t.equal(shared.get('any'), 'unknown');
  shared.close();
  shared.close();
  t.equal(shared.get('any'), 'unknown');
});

t.test('without shared memory there is no name, and no name is an error that says so', async t => {
  const { local } = serve(t, { sharedMemory: false });
  t.equal(local, undefined);
  t.throws(() => openSharedStore(local), {
    code: 'ERR_OPTION',
    message: /REGROUP_STORE, as workers of regroup have it/,
  });
  t.throws(() => openSharedStore('@regroup-store-nobody'), {
    code: 'ERR_STORE_CONNECT',
    message: /no store answers at @regroup-store-nobody, tried for \d+ ms: nobody listens there/,
    syscall: 'connect',
  });
});

t.test('the store says which client it closed, and why', async t => {
  const { port, lines, store, table } = serve(t);
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await once(socket, 'close');

  while (lines.length === 0) await new Promise(resolve => setImmediate(resolve));

  t.match(lines[0], /^closed 127\.0\.0\.1:\d+: not a protocol that's served here$/);
  t.equal(store.stats(table).faults, 1);
});
