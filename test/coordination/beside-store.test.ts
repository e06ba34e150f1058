import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { CoordinationError } from '../../lib/coordination/coordination.js';
import { connectServer } from '../../lib/coordination/server.js';
import { native } from '../../lib/native/addon.js';
import { connectStore } from '../../lib/store/client.js';
import { serveStore } from '../harness.js';

// Coordination at the port of the addon's store, R-051.

const host = '127.0.0.1';
/** Longer than anything here takes, on whatever machine. */
const timeoutMs = 60_000;

function openStore(t: Test) {
  const options = { disable: [], sharedMemory: false, keptDescriptors: 0 };
  const store = native().createStore(options, () => {});
  t.teardown(() => store.close());
  return store;
}

t.test('a table that serves coordination does so beside TCPStore', async t => {
  const { port } = openStore(t).openTable({ hosts: [host], port: 0, coordination: true });
  const client = await connectStore({ host, port });
  t.teardown(() => client.close());
  const agents = await connectServer({ host, port, timeoutMs });
  t.teardown(() => agents.close());

  await client.set('key', 'of workers');
  const lease = await agents.lease(timeoutMs);
  await agents.put('key', 'of agents', lease);
  await lease.renew();

  t.equal((await client.get('key')).toString(), 'of workers');
  t.match((await agents.get('')).entries, [{ key: 'key', value: 'of agents', lease: lease.id }]);
});

t.test('a table that was not asked to serve coordination refuses it', async t => {
  const store = openStore(t);
  store.openTable({ hosts: [host], port: 0, coordination: true });
  const { port } = store.openTable({ hosts: [host], port: 0 });

  // TCPStore closes what it doesn't know, and so the client finds nobody.
  const refused = await connectServer({ host, port, timeoutMs: 200 }).then(
    () => undefined,
    error => error,
  );

  t.ok(refused instanceof CoordinationError);
  t.match(refused, { code: 'UNAVAILABLE' });
});

t.test('a table for agents alone refuses clients of a store', async t => {
  const { port } = openStore(t).openTable({
    hosts: [host],
    port: 0,
    coordination: true,
    exclusive: true,
  });

  const socket = connect(port, host, () => socket.write('\x01')).on('error', () => {});
  await once(socket, 'close');
  const agents = await connectServer({ host, port, timeoutMs });
  t.equal(await agents.put('key', 'value'), 1);
  await agents.close();
});

t.test('two tables share no keys, and an emptied one is another server to its clients', async t => {
  const store = openStore(t);
  const tables = [0, 1].map(() => store.openTable({ hosts: [host], port: 0, coordination: true }));
  const [one, other] = await Promise.all(
    tables.map(({ port }) => connectServer({ host, port, timeoutMs })),
  );
  t.teardown(() => Promise.all([one?.close(), other?.close()]));
  await one?.put('key', 'value');
  t.same((await other?.get(''))?.entries, []);
  const ended = new Promise<CoordinationError>(resolve => {
    one?.watch('', 1, { changed() {}, ended: resolve });
  });

  store.resetTable(tables[0]?.table ?? 0);

  t.match(await ended, { code: 'COMPACTED' });
  t.same((await one?.get(''))?.entries, []);
});

t.test('regroup-store serves coordination', async t => {
  const { port } = await serveStore(t);
  const agents = await connectServer({ host, port, timeoutMs });
  t.teardown(() => agents.close());

  await agents.put('key', 'value');

  t.match((await agents.get('')).entries, [{ key: 'key', value: 'value' }]);
});

t.test('T-095 agents share one port with the stores of all rounds', async t => {
  const store = openStore(t);
  const meeting = store.openTable({ hosts: [host], port: 0, coordination: true });
  const { port } = meeting;
  const agents = await connectServer({ host, port, timeoutMs });
  t.teardown(() => agents.close());
  await agents.put('key', 'of agents');
  for (const round of [0, 1]) {
    const table = store.borrowPort(meeting.table);
    const worker = await connectStore({ host, port });
    t.teardown(() => worker.close());

    t.equal(table.port, port);
    t.equal(await worker.add('workers', 1), 1n, `round ${round} begins with an empty store`);
    store.closeTable(table.table);
  }

  t.match((await agents.get('')).entries, [{ key: 'key', value: 'of agents' }]);
  t.throws(() => store.borrowPort(4711), { code: 'EBADF' });
});
