import t, { type Test } from 'tap';
import { emptyState, stateKey } from '../../../lib/rendezvous/stock/state.js';
import { startSync } from '../../../lib/rendezvous/stock/sync.js';
import { connectStore } from '../../../lib/store/client.js';
import type { StoreClient } from '../../../lib/store/store.js';
import { deferred } from '../../../lib/util/deferred.js';
import { serveStore } from '../../harness.js';

// The state that all agents share, at a real store.

const key = stateKey('job');
const around = { key, bootMs: () => 0 };

async function clients(t: Test): Promise<readonly [StoreClient, StoreClient]> {
  const { port } = await serveStore(t);
  const both = await Promise.all([0, 1].map(() => connectStore({ host: '127.0.0.1', port })));
  t.teardown(() => Promise.all(both.map(each => each.close())));
  return both as [StoreClient, StoreClient];
}

t.test('R-002, R-004 of changes that meet none is lost', async t => {
  const each = 25;
  const round = deferred<number>();
  for (const [index, store] of (await clients(t)).entries()) {
    // As heartbeats do, it tells one's own change from another's.
    const others = new Map([['by', index]]);
    let written = 0;
    const sync = startSync({
      ...around,
      store,
      seen(stored) {
        if (stored?.round === 2 * each) round.resolve(stored.round);
        if (written === each) return { pauseMs: 10 };
        const state = stored ?? emptyState('2.6');
        return {
          write: { state: { ...state, round: state.round + 1, others }, generation: '2.6' },
        };
      },
      written: () => {
        written++;
      },
      failed: round.reject,
    });
    t.teardown(() => sync.close());
  }

  t.equal(await round.promise, 2 * each);
});

t.test('R-005 a store that has lost the state is no store to go on with', async t => {
  const [store, other] = await clients(t);
  const failed = deferred<unknown>();
  const loses: StoreClient = {
    ...store,
    async compareSet(...args) {
      if (String(args[1]) !== '') await other.deleteKey(key);
      return store.compareSet(...args);
    },
  };

  startSync({
    ...around,
    store: loses,
    seen: () => ({ write: { state: emptyState('2.6'), generation: '2.6' } }),
    written: () => t.fail('nothing was written'),
    failed: failed.resolve,
  });

  t.match(await failed.promise, { name: 'MalformedState', message: /has lost it/ });
});
