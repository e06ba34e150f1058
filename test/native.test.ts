import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { native } from '../lib/native.js';

const hello = Buffer.from('00cef7853c', 'hex');
const ping = Buffer.from('0d01000000', 'hex');

t.test('T-106 the store tells clients, bytes, operations and the slowest', async t => {
  const store = native().createStore();
  t.teardown(() => store.close());
  const { table, port } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  t.notOk(store.stats(table).slowest);
  const client = connect(port, '127.0.0.1');
  t.teardown(() => client.destroy());

  client.write(Buffer.concat([hello, ping]));
  const [answer] = await once(client, 'data');

  t.same(answer, ping.subarray(1));
  const { slowest, ...counters } = store.stats(table);
  t.same(counters, {
    clients: 1,
    keys: 0,
    waiters: 0,
    bytes: 0,
    accepted: 1,
    refused: 0,
    faults: 0,
    bytesIn: hello.length + ping.length,
    bytesOut: 4,
    operations: { VALIDATE: 1, PING: 1 },
  });
  t.ok(slowest && slowest.operation in counters.operations);
});

t.test('a store that is closed counts nothing, and says so rather than throwing', async t => {
  const store = native().createStore();
  const { table } = store.openTable({ hosts: ['127.0.0.1'], port: 0 });
  store.close();

  const stats = store.stats(table);

  t.equal(stats.clients, 0);
  t.same(stats.operations, {});
});
