import t from 'tap';
import { type Evidence, type Life, longestOutlived, violationsOf } from './invariants.js';

const limits = { leaseMs: 1_000, outlivesMs: 100 };

/** A worker of two, of a round that has met. */
function life(changes: Partial<Life> = {}): Life {
  const { rank = 0, world = 2, node = `node${rank}` } = changes;
  return {
    ...{ node, agent: 0, pid: 100 + rank, rank, groupRank: rank, world, round: 0, restartCount: 0 },
    ...{ store: 'node0:1', startedMs: 0, lastMs: 500 },
    met: { claims: 1, arrivals: world, keys: world + 1 },
    ...changes,
  };
}

function found(lives: readonly Life[], more: Partial<Evidence> = {}): readonly string[] {
  return violationsOf({ lives, ends: [], serverEndsMs: [], ...more }, limits);
}

const pair = [life(), life({ rank: 1 })];
const next = { round: 1, restartCount: 1, store: 'node0:2', startedMs: 600, lastMs: 900 };

t.test('R-017 R-047 rounds that follow each other keep all that must hold', async t => {
  t.strictSame(found([...pair, life(next), life({ ...next, rank: 1 })]), []);
});

const broken: readonly (readonly [string, readonly Life[], RegExp])[] = [
  [
    'a worker that lives into the next round',
    [life({ lastMs: 650 }), life({ rank: 1 }), life(next), life({ ...next, rank: 1 })],
    /node0 \(rank 0\) in round 0 at node0:1 lives 50\.0 ms into round 1/,
  ],
  ['two sizes of one world', [life(), life({ rank: 1, world: 3 })], /worlds of 2 and 3/],
  ['two restart counts', [life(), life({ rank: 1, restartCount: 1 })], /restart counts 0 and 1/],
  ['a rank twice', [life(), life({ node: 'node1' })], /a rank twice: 0 on node0,0 on node1/],
  ['a node twice', [life(), life({ rank: 1, node: 'node0' })], /a node twice/],
  ['a rank beyond the world', [life(), life({ rank: 2 })], /rank 2, group rank 2 of 2/],
  ['a rank that is no group rank', [life(), life({ rank: 1, groupRank: 0 })], /group rank 0 of 2/],
  ['a rank that is missing', [life()], /met with 1 workers of 2/],
  [
    'a rank that was claimed in the store before',
    [life({ met: { claims: 2, arrivals: 2, keys: 3 } }), life({ rank: 1 })],
    /claim 2 of rank 0/,
  ],
  [
    'more arrivals than workers',
    [life({ met: { claims: 1, arrivals: 3, keys: 3 } }), life({ rank: 1 })],
    /arrival 3 of 2/,
  ],
  [
    'a store that was not empty',
    [life({ met: { claims: 1, arrivals: 2, keys: 4 } }), life({ rank: 1 })],
    /4 keys, and its workers made 3/,
  ],
  [
    'a number that is given again',
    [
      ...pair,
      life({ ...next, round: 0, restartCount: 0 }),
      life({ ...next, rank: 1, round: 0, restartCount: 0 }),
    ],
    /round 0 at node0:2 repeats round 0 at node0:1/,
  ],
  [
    'a node whose rounds go back',
    [
      ...pair.map(each => ({ ...each, round: 5, restartCount: 5 })),
      life(next),
      life({ ...next, rank: 1 }),
    ],
    /node0 goes from round 5 to round 1/,
  ],
];

for (const [what, lives, sentence] of broken) {
  t.test(`R-017 R-047 it finds ${what}`, async t => {
    t.match(found(lives).join('\n'), sentence);
  });
}

t.test('R-047 beside a round at the next server, workers may run for a lease', async t => {
  const lives = (lastMs: number) => [
    life({ lastMs }),
    life({ rank: 1, lastMs }),
    life({ ...next, round: 0, restartCount: 0, lastMs: 2_000 }),
    life({ ...next, rank: 1, round: 0, restartCount: 0, lastMs: 2_000 }),
  ];
  const serverEndsMs = [550];

  t.strictSame(found(lives(1_599), { serverEndsMs }), []);
  t.match(found(lives(1_601), { serverEndsMs }).join('\n'), /lives 1001\.0 ms into/);
  t.match(found(lives(1_599), { serverEndsMs: [] }).join('\n'), /lives 999\.0 ms into/);
});

t.test('it finds a worker that outlives its agent, and by how long', async t => {
  const ends = [{ node: 'node0', agent: 0, atMs: 399 }];

  t.match(found(pair, { ends }).join('\n'), /a worker of node0 outlives its agent by 101\.0 ms/);
  t.strictSame(found(pair, { ends: [{ node: 'node0', agent: 0, atMs: 401 }] }), []);
  t.strictSame(found(pair, { ends: [{ node: 'node0', agent: 1, atMs: 399 }] }), []);
  t.equal(longestOutlived({ lives: pair, ends, serverEndsMs: [] }), 101);
});
