import t, { type Test } from 'tap';
import { type Exchange, exchange, findWay } from '../../../lib/rendezvous/stock/round/exchange.js';
import { connectStore } from '../../../lib/store/client.js';
import type { Store } from '../../../lib/store/store.js';
import { serveStore } from '../../harness.js';

// How the nodes of a round tell each other of their ranks, by the keys of a real store..

const { signal } = new AbortController();
const master = { host: '127.0.0.1', port: 1111, isOurs: true };

/** What PyTorch's agents of 2.3 write of themselves, and those of 2.4 and 2.5, whose states are alike. */
const keyOf = {
  gathered: (rank: number) => `torchelastic/role_info${rank}`,
  assigned: (rank: number) => `torchelastic/role_info/${rank}`,
} as const;
const info = JSON.stringify({ role: 'default', rank: 0, local_world_size: 2 });

/** As many clients of one store. */
async function clients(t: Test, count: number): Promise<Store[]> {
  const { port } = await serveStore(t);
  return Promise.all(
    Array.from({ length: count }, async () => {
      const client = await connectStore({ host: '127.0.0.1', port });
      t.teardown(() => client.close());
      return client;
    }),
  );
}

/** A node of ours. */
function node(store: Store, rank: number, size: number): Omit<Exchange, 'way'> {
  return {
    ...{ store, rank, size, localWorldSize: 2, role: 'default', signal },
    master: async () => ({ ...master, isOurs: rank === 0 }),
  };
}

for (const way of ['gathered', 'assigned'] as const) {
  for (const rank of [0, 1]) {
    t.test(`rank ${rank} of ours finds out that the others' ranks are ${way}`, async t => {
      const [ours, theirs] = (await clients(t, 2)) as [Store, Store];
      const found = findWay('2.3', node(ours, rank, 2));

      await theirs.set(keyOf[way](1 - rank), info);

      t.equal(await found, way);
    });
  }

  t.test(`the ranks of a round are ${way} where one node of three is not ours`, async t => {
    const [first, second, theirs] = (await clients(t, 3)) as [Store, Store, Store];
    const ours = [node(first, 0, 3), node(second, 1, 3)];
    const places = ours.map(async each => exchange({ ...each, way: await findWay('2.3', each) }));

    await theirs.set(keyOf[way](2), info);
    if (way === 'gathered') {
      await theirs.wait(keyOf.gathered(0));
      await theirs.set(`${keyOf.gathered(2)}.FIN`, 'FIN');
    }

    t.match(await Promise.all(places), [
      { place: { groupRank: 0, firstRank: 0, worldSize: 6 } },
      { place: { groupRank: 1, firstRank: 2, worldSize: 6 } },
    ]);
    if (way === 'assigned')
      t.same(JSON.parse(String(await theirs.get('torchelastic/assigned_ranks/2'))), [4, 6, 4, 6]);
  });
}

t.test('nodes of ours alone take the newer way', async t => {
  const ours = (await clients(t, 2)).map((store, rank) => node(store, rank, 2));

  const places = await Promise.all(
    ours.map(async each => exchange({ ...each, way: await findWay('2.3', each) })),
  );

  t.match(places, [{ place: { firstRank: 0 } }, { place: { firstRank: 2, worldSize: 4 } }]);
});

t.test('states of other releases tell it, and nobody is asked', async t => {
  const [store] = (await clients(t, 1)) as [Store];
  for (const [generation, way] of [
    ['1.13', 'gathered'],
    ['2.0', 'gathered'],
    ['2.6', 'assigned'],
  ] as const)
    t.equal(await findWay(generation, node(store, 0, 2)), way);
});
