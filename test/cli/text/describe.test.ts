import t from 'tap';
import { describeOpen, describeWait } from '../../../lib/cli/text/describe.js';
import type { NodesWait } from '../../../lib/events/nodes.js';

const nodes = { waitsFor: 'nodes', endpoint: 'a:1', minNodes: 2, maxNodes: 9 } as const;
const many = Array.from({ length: 20 }, (_, i) => `n${i}`);

const waits: readonly (readonly [NodesWait, string])[] = [
  [
    { ...nodes, here: ['x (1.2.3.4)'], ending: [], limitMs: 600_000 },
    'waiting for nodes: 1 of 2 is here (x (1.2.3.4)), at a:1, up to 10 min 00 s',
  ],
  [
    { ...nodes, here: [], ending: [], limitMs: 5_000 },
    'waiting for nodes: 0 of 2 are here, at a:1, up to 5.0 s',
  ],
  [
    { ...nodes, here: ['x', 'y'], ending: [], limitMs: 30_000 },
    'waiting for more nodes: 2 of at most 9 are here (x, y), at a:1, up to 30.0 s',
  ],
  [
    { ...nodes, minNodes: 30, maxNodes: 30, here: many, ending: [], limitMs: 5_000 },
    `waiting for nodes: 20 of 30 are here (${many.slice(0, 16).join(', ')} and 4 more), at a:1, up to 5.0 s`,
  ],
  [
    { ...nodes, here: ['x'], ending: ['y'], limitMs: 5_000 },
    'waiting for workers of y to end; up to 5.0 s',
  ],
  [
    { waitsFor: 'endpoint', endpoint: 'a:1', limitMs: 5_000 },
    'waiting for a:1, where nobody answers; up to 5.0 s',
  ],
  [
    { waitsFor: 'place', round: 3, nodes: 2, maxNodes: 2 },
    'the round is full: waiting for a place among its 2 nodes',
  ],
  [
    { waitsFor: 'place', round: 3, nodes: 2, maxNodes: 2, spares: 1, limitMs: 60_000 },
    'the job is full: it has 2 nodes and 1 spare (--spares); waiting for one of them to go, up to 1 min 00 s',
  ],
  [
    { waitsFor: 'ends', nodes: ['node2 (b)', 'node3 (c)'], limitMs: 35_000 },
    'waiting for node2 (b), node3 (c) to tell what became of the workers there; up to 35.0 s',
  ],
  [
    { waitsFor: 'peers', round: 0, done: 2, nodes: 3, running: ['node2 (b)'] },
    "this node's workers have ended with 0, as those of 2 of 3 nodes have; waiting for node2 (b)",
  ],
  [
    { waitsFor: 'place', round: 3, nodes: 2, maxNodes: 4 },
    'waiting for round 3, which has 2 of 4 nodes, to end for more of them',
  ],
];

t.test('MN-06 MN-29 MN-76 what a node waits for, in one line', async t => {
  for (const [wait, text] of waits)
    t.equal(describeWait({ event: 'waiting-for-nodes', ...wait, atMs: 0 }), text);
});

t.test('who may take part where there is no token is told, with what keeps others out', async t => {
  const open = { event: 'open-to-all', port: 29_400, atMs: 0 } as const;
  const rest =
    'can take part in the job, or end it; REGROUP_TOKEN or --rdzv-conf token-file=PATH, the same on all nodes, keeps others out';

  t.equal(
    describeOpen({ ...open, addresses: ['10.0.0.1', 'fd00::1'] }),
    `whoever reaches port 29400 of 10.0.0.1, fd00::1 ${rest}`,
  );
  t.equal(
    describeOpen({ ...open, addresses: [] }),
    `whoever reaches port 29400 of this machine ${rest}`,
  );
});
