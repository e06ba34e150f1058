import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { meet } from '../../../lib/agent/meet.js';
import { findStock, joinAt } from '../../../lib/agent/stock/find.js';
import { native } from '../../../lib/native/addon.js';
import { withDefaults } from '../../../lib/options/launch-options.js';
import { connectStore } from '../../../lib/store/client.js';
import { servePeer } from '../../store/peers.js';

// Whose server it is that nodes of a job are led to; PyTorch's own is found in test/cluster/wire/stock.test.ts.

const host = '127.0.0.1';

t.test(
  "R-051 our own server is not torchrun's, though agents of torchrun have been there",
  async t => {
    const store = native().createStore(
      { disable: [], sharedMemory: false, keptDescriptors: 0 },
      () => {},
    );
    t.teardown(() => store.close());
    const { port } = store.openTable({ hosts: [host], port: 0, coordination: true });
    const torchrun = await connectStore({ host, port });
    t.teardown(() => torchrun.close());
    await torchrun.set('torch.rendezvous.job', 'Y2FuaW1hZGFt');
    const settings = { ...withDefaults({ entrypoint: { program: 'true' } }), runId: 'job' };

    const found = await findStock(settings, { host, port }, new AbortController().signal);

    t.equal(found, undefined);
  },
);

const among = {
  ...withDefaults({ entrypoint: { program: 'true' } }),
  ...{ runId: 'job', amongTorchrun: true, isHost: false },
};
const never = new AbortController().signal;
/** This node serves nothing. */
const core: Parameters<typeof meet>[2] = {
  serve: () => t.fail('it is not the host'),
  keepLease: () => ({ close() {} }),
};

t.test('T-098 whoever answers there and is no store is asked once', async t => {
  const { port } = await servePeer(t, socket => {
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  let attempts = 0;

  const joined = joinAt(among, { host, port }, never, () => {
    attempts++;
  });

  await t.rejects(joined, { code: 'ERR_STORE_PROTOCOL' });
  t.equal(attempts, 1);
  await t.rejects(meet(among, { host, port }, core, never), {
    code: 'ERR_RENDEZVOUS',
    message: /doesn't answer as a store does: .*; is --rdzv-endpoint the address and port/,
  });
});

t.test('T-098 where nobody serves the endpoint, people are told so, and why', async t => {
  const settings = { ...among, joinTimeoutMs: 7_000 }; // one attempt, and a part of the next one

  await t.rejects(meet(settings, { host, port: 1 }, core, never), {
    code: 'ERR_RENDEZVOUS',
    message: /no node serves 127\.0\.0\.1:1, tried for 7 s: .*ECONNREFUSED.*; it is served by/,
  });
});

t.test('a node without an address at the store leaves no connection there', async t => {
  const store = native().createStore(
    { disable: [], sharedMemory: false, keptDescriptors: 0 },
    () => {},
  );
  t.teardown(() => store.close());
  const { port, table } = store.openTable({ hosts: [host], port: 0 });
  const settings = { ...among, interface: 'no-such-one' };

  const joined = joinAt(settings, { host, port }, never, () => {});

  await t.rejects(joined, { code: 'ERR_OPTION' });
  while (store.stats(table).clients > 0) await pause(20);
});
