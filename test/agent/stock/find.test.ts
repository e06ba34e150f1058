import t from 'tap';
import { findStock } from '../../../lib/agent/stock/find.js';
import { native } from '../../../lib/native/addon.js';
import { withDefaults } from '../../../lib/options/launch-options.js';
import { connectStore } from '../../../lib/store/client.js';

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
