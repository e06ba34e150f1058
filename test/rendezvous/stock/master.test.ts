import t, { type Test } from 'tap';
import {
  hear,
  type Masters,
  publish,
  publishKept,
} from '../../../lib/rendezvous/stock/round/master.js';
import { connectStore } from '../../../lib/store/client.js';
import { deferred } from '../../../lib/util/deferred.js';
import { serveStore } from '../../harness.js';

// Where a round has its workers' store, by the keys of a real one. R-034, R-035, R-048.

const { signal } = new AbortController();
const before = { host: '127.0.0.1', port: 1111 };
const fresh = { host: '127.0.0.1', port: 2222 };

/** Round 1, after one whose store is still there. */
async function roundOne(t: Test): Promise<Masters> {
  const { port } = await serveStore(t);
  const store = await connectStore({ host: '127.0.0.1', port });
  t.teardown(() => store.close());
  const isThere = () => Promise.resolve(true);
  const masters = { store, runId: 'job', round: 1, mayBeKept: true, isThere };
  await publish({ ...masters, round: 0 }, before, signal);
  return masters;
}

t.test('what a slow rank 0 says is heard, and not what another round had', async t => {
  const masters = await roundOne(t);
  const ranks = deferred<void>();
  const heard = hear(masters, ranks.promise, signal);

  await publish(masters, fresh, signal);
  ranks.resolve();

  t.match(await heard, { ...fresh, kept: false });
});

t.test(
  'where rank 0 has said nothing, that of the round before is kept, and said once',
  async t => {
    const masters = await roundOne(t);

    t.match(await hear(masters, Promise.resolve(), signal), { ...before, kept: true });

    await publishKept(masters, before, signal);
    await publishKept(masters, fresh, signal);
    t.match(await hear(masters, Promise.resolve(), signal), { ...before, kept: false });
  },
);
