import t from 'tap';
import { startCore } from '../../lib/agent/core.js';
import { connectServer } from '../../lib/coordination/server.js';
import { withDefaults } from '../../lib/options/launch-options.js';
import { guarded, serveStore } from '../harness.js';

t.test('a lease is given up when the agent says nothing for agentStallMs', async t => {
  guarded(t);
  const { port } = await serveStore(t);
  const agents = await connectServer({ host: '127.0.0.1', port, timeoutMs: 60_000 });
  t.teardown(() => agents.close());
  const ttlMs = 4000;
  const lease = await agents.lease(ttlMs);
  // Below what an agent says that it's well at, and so below what people may ask for.
  const settings = { ...withDefaults({ entrypoint: { program: 'true' } }), agentStallMs: 100 };
  const job = { settings, localWorldSize: 1, agentStore: true };
  const core = startCore(
    job,
    [],
    () => {},
    () => {},
  );
  t.teardown(() => core.close());

  const keeping = { host: '127.0.0.1', port, lease: lease.id, ttlMs, marginMs: 400 };
  const given = await new Promise(resolve => {
    const kept = core.keepLease(keeping, () => resolve('given up'));
    t.teardown(() => kept.close());
  });

  t.equal(given, 'given up');
  // The server knows of it for the rest of its time: it was not lost.
  await lease.renew();
});
